"""Synthetic data: rows that a model writes after seed rows, validated and with provenance."""
