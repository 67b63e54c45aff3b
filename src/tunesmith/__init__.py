"""Tunesmith: one YAML file takes a practitioner from data to a fine-tuned model that they can trust."""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Give `tunesmith.encode` and `tunesmith.Verdict` without importing anything before they are asked for."""
    if name == "encode":
        from tunesmith.api import encode

        return encode
    if name == "Verdict":
        from tunesmith.assertions import Verdict

        return Verdict
    raise AttributeError(f"module 'tunesmith' has no attribute '{name}'")
