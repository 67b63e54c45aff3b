"""Tunesmith: one YAML file takes a practitioner from data to a fine-tuned model that they can trust."""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Give `tunesmith.encode` without importing anything before it is asked for."""
    if name == "encode":
        from tunesmith.data.encode import encode

        return encode
    raise AttributeError(f"module 'tunesmith' has no attribute '{name}'")
