"""A config at an `https://` address: fetched within limits of size, time and redirects."""

import re
import ssl
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooSlow
from http.client import HTTPException, HTTPResponse
from urllib.error import HTTPError, URLError
from urllib.parse import urljoin
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from tunesmith.errors import ConfigError

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
    opener = OpenerDirector()  # this one knows neither files nor ftp, and follows no redirect by itself
    for handler in (
        ProxyHandler(),
        HTTPSHandler(context=ssl.create_default_context()),
        HTTPErrorProcessor(),
        HTTPDefaultErrorHandler(),
    ):
        opener.add_handler(handler)
    address = url
    for _ in range(MOST_REDIRECTS + 1):
        if not address.lower().startswith("https://"):
            way = f"{url} leads to {address}" if address != url else url
            raise ConfigError(f"{way}: a config is read from https:// only")
        try:
            with opener.open(Request(address, headers={"User-Agent": "tunesmith"}), timeout=SECONDS) as answer:
                return _body(answer, url)
        except HTTPError as error:
            if error.code not in (301, 302, 303, 307, 308) or "Location" not in error.headers:
                raise ConfigError(f"{url}: the server answers {error.code} {error.reason}") from None
            address = urljoin(address, error.headers["Location"])
        except (OSError, HTTPException) as error:
            reason = error.reason if isinstance(error, URLError) else error
            raise ConfigError(f"{url} could not be downloaded: {reason}") from None
    raise ConfigError(f"{url}: more than {MOST_REDIRECTS} redirects")


def _body(answer: HTTPResponse, url: str) -> bytes:
    """Return the content, if it can be a config."""
    content = answer.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ConfigError(f"{url} is larger than {MOST_BYTES:,} bytes: it is not a config")
    if len(content) < int(answer.headers.get("Content-Length", 0)):
        raise ConfigError(f"{url}: the answer ended after {len(content)} bytes; try again")
    begin = content[:200].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if answer.headers.get_content_type() == "text/html" or re.match(b"<!doctype|<html", begin):
        raw = url.replace("/blob/", "/resolve/" if "//huggingface.co/" in url else "/raw/", 1)
        hint = f"name the file itself: {raw}" if raw != url else "name the raw file"
        raise ConfigError(f"{url} is a web page, not YAML; {hint}")
    return content
