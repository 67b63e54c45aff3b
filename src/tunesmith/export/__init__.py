"""Export: tuned weights in the formats of other tools."""
