"""Evaluation: loss on held-out rows, and a user's assertions over generated answers."""
