"""What a run writes: its record, checkpoints, trackers, and what it publishes."""
