"""Base models: where they come from, how they are loaded, and the adapters put on them."""
