"""Curation: which rows of a dataset stay, and why."""
