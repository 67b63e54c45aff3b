"""From rows to tokens: sources, formats, tokenising, the prepared dataset, packing, and the debug view. No torch."""
