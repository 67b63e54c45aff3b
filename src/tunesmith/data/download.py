"""Data files on a web server: kept on this machine, and downloaded again once in each run."""

import filecmp
import hashlib
import os
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from tunesmith import http_client
from tunesmith.errors import DataError
from tunesmith.files import write_binary

SECONDS = 30
"""How long the server may be silent."""


@cache
def download(url: str) -> Path:
    """Return the file at a web address, under its own name in the cache of the Hub.

    Raises:
        DataError: it could not be downloaded.
    """
    from huggingface_hub.constants import HF_HOME

    name = Path(urlsplit(url).path).name or "data"
    file = Path(HF_HOME) / "tunesmith" / hashlib.blake2b(url.encode(), digest_size=8).hexdigest() / name
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f".{os.getpid()}.{file.name}")
    try:
        with http_client.stream("GET", url, seconds=SECONDS) as response:
            if response.is_error:
                raise ConnectionError(f"the server answers {response.status_code} {response.reason_phrase}")
            with write_binary(fresh) as sink:
                # the name of a .gz file says what it holds, also if the server calls that the encoding of the answer
                for chunk in response.iter_raw() if file.suffix == ".gz" else response.iter_bytes():
                    sink.write(chunk)
    except OSError as error:
        raise DataError(f"`datasets.path: {url}` could not be downloaded: {error}") from None
    if file.exists() and filecmp.cmp(fresh, file, shallow=False):
        fresh.unlink()  # another process may be reading the file, to which a new one would be a change
    else:
        fresh.replace(file)
    return file
