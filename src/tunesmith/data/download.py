"""A data file that lies on a web server: kept on this machine, and fetched anew once in each run."""

import hashlib
import os
import shutil
import urllib.request
from functools import cache
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from tunesmith.errors import DataError

SECONDS = 30
"""How long the server may be silent."""


@cache
def download(url: str) -> Path:
    """Return the file at a web address, under its own name in the cache of the Hub.

    Raises:
        DataError: it cannot be had.
    """
    from huggingface_hub.constants import HF_HOME

    name = Path(urlsplit(url).path).name or "data"
    file = Path(HF_HOME) / "tunesmith" / hashlib.blake2b(url.encode(), digest_size=8).hexdigest() / name
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{os.getpid()}.part")
    try:
        with urllib.request.urlopen(url, timeout=SECONDS) as answer, part.open("wb") as sink:
            shutil.copyfileobj(answer, sink)
            expected = answer.headers.get("Content-Length")
        if expected is not None and part.stat().st_size != int(expected):
            raise DataError(f"`datasets.path: {url}`: the answer broke off; try again")
        return part.replace(file)
    except (OSError, HTTPException) as error:
        raise DataError(f"`datasets.path: {url}` cannot be had: {error}") from None
    finally:
        part.unlink(missing_ok=True)
