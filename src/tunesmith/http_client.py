"""HTTP by one client, httpx2: imported when something is requested, because that takes a tenth of a second."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx2


@contextmanager
def stream(
    method: str, url: str, *, seconds: float, body: Any = None, follow_redirects: bool = True
) -> Iterator["httpx2.Response"]:
    """Send a request and yield the response, whose content is read as it comes.

    Args:
        method: GET or POST.
        url: the address.
        seconds: how long the server may be silent.
        body: sent as JSON.
        follow_redirects: whether an answer that names another address is followed.

    Raises:
        ConnectionError: there is no answer, or it ends too early; the reason is the text.
    """
    import httpx2

    client = httpx2.Client(
        headers={"User-Agent": "tunesmith", "Accept-Encoding": "identity"},  # a small answer stays small
        follow_redirects=follow_redirects,
        timeout=seconds,
        verify=ssl.create_default_context(),
    )
    try:
        with client, client.stream(method, url, json=body) as response:
            yield response
    except (httpx2.RequestError, httpx2.InvalidURL) as error:
        raise ConnectionError(str(error) or type(error).__name__) from error


def request(method: str, url: str, *, seconds: float, body: Any = None) -> "httpx2.Response":
    """Send a request and return the complete response, whatever its status.

    Raises:
        ConnectionError: there is no answer.
    """
    with stream(method, url, seconds=seconds, body=body) as response:
        response.read()
    return response
