"""What the pages and plots share: one look, one file each, and nothing asked of the network."""
