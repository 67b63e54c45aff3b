"""Tunesmith: one YAML file takes a practitioner from data to a fine-tuned model that they can trust."""

__version__ = "0.1.0"
