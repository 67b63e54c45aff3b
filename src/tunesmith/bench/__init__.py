"""The benchmark: Tunesmith and TRL's SFTTrainer at the same work, in turns, each in its own processes."""
