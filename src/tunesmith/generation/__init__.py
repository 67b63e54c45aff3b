"""Generation: the tuned model and its base, asked with the prompt that was trained."""
