"""Data that is made or sorted out: which rows are worth training on, and rows that a model writes."""
