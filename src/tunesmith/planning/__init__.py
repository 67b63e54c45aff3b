"""What to run: a first config for a data file."""
