"""Generation: answers of the tuned model and its base, from the trained prompt; local, endpoint or served models."""
