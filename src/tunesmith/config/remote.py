"""A config at an `https://` address: fetched within limits of size, time and redirects."""

import re
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooSlow
from typing import TYPE_CHECKING
from urllib.parse import urljoin

from tunesmith import http_client
from tunesmith.errors import ConfigError

if TYPE_CHECKING:
    import httpx2

MOST_BYTES = 1_000_000
SECONDS = 20.0
MOST_REDIRECTS = 5


def fetch(url: str) -> str:
    """Return what stands at an `https://` address.

    Raises:
        ConfigError: the address is of another kind, or the answer is an error, too large, too slow or a web page.
    """
    outcome: Future[bytes] = Future()

    def work() -> None:
        try:
            outcome.set_result(_get(url))
        except Exception as error:  # raised again in the thread that waits
            outcome.set_exception(error)

    # a thread, since a time-out of the socket starts anew with each byte, and does not count the search for the host
    threading.Thread(target=work, daemon=True).start()
    try:
        return outcome.result(SECONDS).decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{url}: byte {error.start} is not UTF-8: it is not a YAML file") from None
    except TooSlow:
        raise ConfigError(
            f"{url}: no complete answer in {SECONDS:g} s; download the file, and use the local copy"
        ) from None


def _get(url: str) -> bytes:
    """Follow redirects to the answer."""
    address = url
    for _ in range(MOST_REDIRECTS + 1):
        if not address.lower().startswith("https://"):
            way = f"{url} leads to {address}" if address != url else url
            raise ConfigError(f"{way}: a config is read from https:// only")
        try:
            with http_client.stream("GET", address, seconds=SECONDS, follow_redirects=False) as response:
                if not response.has_redirect_location:
                    return _read_config(response, url)
                address = urljoin(address, response.headers["Location"])
        except OSError as error:
            raise ConfigError(f"{url} could not be downloaded: {error}") from None
    raise ConfigError(f"{url}: more than {MOST_REDIRECTS} redirects")


def _read_config(response: "httpx2.Response", url: str) -> bytes:
    """Return the content, if it can be a config."""
    if not response.is_success:
        raise ConfigError(f"{url}: the server answers {response.status_code} {response.reason_phrase}")
    content = b""
    for chunk in response.iter_raw():
        content += chunk
        if len(content) > MOST_BYTES:
            raise ConfigError(f"{url} is larger than {MOST_BYTES:,} bytes: it is not a config")
    start = content[:200].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    is_html = response.headers.get("Content-Type", "").partition(";")[0].strip() == "text/html"
    if is_html or re.match(b"<!doctype|<html", start):
        raw = url.replace("/blob/", "/resolve/" if "//huggingface.co/" in url else "/raw/", 1)
        hint = f"name the file itself: {raw}" if raw != url else "name the raw file"
        raise ConfigError(f"{url} is a web page, not YAML; {hint}")
    return content
