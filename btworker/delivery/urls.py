"""A file at a URL, and the rest of it by Range and If-Range; redirects are followed by hand, each judged. Parent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import yarl

from btworker.delivery.guard import Guard
from btworker.delivery.http import PASSING, TRANSPORT_ERRORS, timeout, why
from btworker.delivery.origin import BrokenOffError, Part
from btworker.errors import BtworkerError, ErrorCode

MAX_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})


class UrlOrigin:
    """See Origin; `session` must be one of open_session with the same guard."""

    def __init__(self, raw_url: str, *, session: aiohttp.ClientSession, guard: Guard, idle_s: float) -> None:
        """Raises URL_REFUSED."""
        self._url = guard.checked(raw_url, what="downloadUrl")
        self._session = session
        self._guard = guard
        self._timeout = timeout(idle_s)

    @property
    def name(self) -> str:
        """The host alone: paths and queries may be secrets."""
        return self._url.host or ""

    @asynccontextmanager
    async def open(self, offset: int, validator: str | None) -> AsyncIterator[Part]:
        """See Origin."""
        headers = {"Accept": "*/*"}
        if offset and validator:
            headers |= {"Range": f"bytes={offset}-", "If-Range": validator}
        url = self._url
        try:
            for _ in range(MAX_REDIRECTS + 1):
                async with self._session.get(
                    url, headers=headers, allow_redirects=False, timeout=self._timeout
                ) as response:
                    if response.status in REDIRECTS and (target := response.headers.get("Location")):
                        url = self._guard.checked(_joined(url, target), what="the address that downloadUrl leads to")
                        continue
                    _judge_status(url, response)
                    yield _part(response, offset)
                    return
        except TRANSPORT_ERRORS as error:
            raise BrokenOffError(why(url, error)) from None
        raise BtworkerError(ErrorCode.DOWNLOAD_FAILED, f"downloadUrl leads on more than {MAX_REDIRECTS} times")


def _part(response: aiohttp.ClientResponse, offset: int) -> Part:
    first_byte, total_bytes = 0, response.content_length
    if response.status == 206:
        given = response.headers.get("Content-Range", "")
        if not given.startswith(f"bytes {offset}-"):
            raise BrokenOffError("the server gave another part than was asked for", anew=True)
        total = given.rpartition("/")[2]
        first_byte, total_bytes = offset, int(total) if total.isdecimal() else None
    return Part(response.content.iter_any(), first_byte, total_bytes, _validator(response))


def _judge_status(url: yarl.URL, response: aiohttp.ClientResponse) -> None:
    status = response.status
    if status in PASSING or status >= 500 or status == 416:
        raise BrokenOffError(f"{url.host} answered {status}")
    if status not in (200, 206):
        hint = " (the URL has expired, or is not meant for this worker)" if status in (401, 403) else ""
        raise BtworkerError(ErrorCode.DOWNLOAD_FAILED, f"{url.host} answered {status} to the download{hint}")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise BtworkerError(ErrorCode.DOWNLOAD_FAILED, f"{url.host} sent the file compressed, which was not asked for")


def _validator(response: aiohttp.ClientResponse) -> str | None:
    """A strong ETag, or the time of the last change."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified")


def _joined(url: yarl.URL, target: str) -> str:
    """A Location may be relative."""
    if not target.isascii() or any(c <= " " for c in target):
        return target  # refused by what looks at it next
    try:
        return str(url.join(yarl.URL(target, encoded=True)))
    except ValueError:
        return target
