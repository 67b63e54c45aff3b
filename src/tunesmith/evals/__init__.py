"""Evaluation: loss on eval rows, metrics, assertions and an LLM judge on generated answers."""
