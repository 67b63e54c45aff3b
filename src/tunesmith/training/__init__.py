"""Training: from a prepared dataset and a model to weights, through transformers' Trainer and its public parameters."""
