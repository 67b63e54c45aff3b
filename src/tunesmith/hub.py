"""Is the Hugging Face Hub there? Asked once, so that a machine without it waits seconds and not minutes of retries."""

import os
from functools import cache

from tunesmith import http_client

TIMEOUT = 5
"""Seconds to wait for the Hub's answer."""


@cache
def is_reachable() -> bool:
    """Return whether the Hub (or what `HF_ENDPOINT` names) answers; False in offline mode (`HF_HUB_OFFLINE=1`)."""
    return not is_offline() and answers(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")


def is_offline() -> bool:
    """Return whether the user wants nothing from the Hub (`HF_HUB_OFFLINE=1`)."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}


def answers(address: str) -> bool:
    """Return whether there is a server at an address, whatever it answers."""
    try:
        with http_client.stream("GET", address, seconds=TIMEOUT):
            return True
    except OSError:
        return False


def why_not(error: Exception) -> str:
    """Return the reason why something is not to be had from the Hub, in a line."""
    if not is_reachable():
        return "is not in the cache of the Hub, and the Hub cannot be reached"
    return f"cannot be had from the Hub: {str(error).strip().splitlines()[0]}"
