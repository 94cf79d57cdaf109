"""The front end's listener as a box asks it for one attempt, or one prefetch. Runs in the box; web/fleet/ answers.

A request that breaks off is made again, for as long as the front end may be away; an attempt that is over is
FencedError, and nobody tries again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import aiohttp
import yarl

from btworker.delivery.http import TRANSPORT_ERRORS, backoff_s, timeout
from btworker.errors import BtworkerError, ErrorCode
from btworker.fleet.files import TICKET, NotYetError
from btworker.logs import get_logger

log = get_logger()
T = TypeVar("T")
IDLE_S = 60.0
"""Seconds without a byte after which a request is given up, and made again."""
PATIENCE_S = 600.0
"""Seconds for which the front end may be away: longer than it takes to restart, less than anybody waits for a job."""
LEASE_S = 60.0
"""Seconds between two looks whether an attempt still counts."""
FIRST_RETRY_S, LONGEST_RETRY_S = 0.2, 5.0
REACH_S = 5.0
"""Seconds that the listener has to answer a box that is about to join."""
CODES = {code.value: code for code in ErrorCode}


class FencedError(Exception):
    """The attempt is over: whatever it has made is of no use any more."""


class UnreachedError(BtworkerError):
    """The front end had no answer for too long: DOWNLOAD_FAILED."""


class FrontEnd:
    """See the module's docstring. `address` is that of the attempt; the ticket is renewed with every answer."""

    def __init__(self, session: aiohttp.ClientSession, address: str, ticket: str) -> None:
        self.session = session
        self._url = yarl.URL(address)
        self._ticket = ticket

    async def hold(self, every_s: float = LEASE_S) -> None:
        """Ask now and then whether the attempt still counts, which renews its ticket, too. Raises FencedError,
        UnreachedError."""
        while True:
            await asyncio.sleep(every_s)
            await self.insist(lambda: self.ask("GET", ""))

    async def ask(self, method: str, path: str, **arguments: Any) -> Any:
        """Make one request; what its answer says, where that is JSON. Raises what judge() does, NotYetError, and what
        is among TRANSPORT_ERRORS."""
        async with self.request(method, path, **arguments) as response:
            await judge(response)
            self._ticket = response.headers.get(TICKET, self._ticket)
            if response.status == 202:
                raise NotYetError
            return await response.json() if response.content_type == "application/json" else None

    def request(self, method: str, path: str, *, headers: dict[str, str] | None = None, **arguments: Any) -> Any:
        """One request, to be entered for its answer."""
        url = self._url.joinpath(*path.split("/")) if path else self._url
        headers = {"Authorization": f"Bearer {self._ticket}", **(headers or {})}
        return self.session.request(method, url, headers=headers, timeout=timeout(IDLE_S), **arguments)

    async def insist(
        self,
        ask: Callable[[], Awaitable[T]],
        *,
        moved: Callable[[], int] = lambda: 0,
        patience_s: float = PATIENCE_S,
    ) -> T:
        """Ask until there is an answer. Raises what the answer says, and UnreachedError after `patience_s` without."""
        failures, since, before = 0, time.monotonic(), moved()
        while True:
            try:
                return await ask()
            except NotYetError:
                failures, since = 0, time.monotonic()
                continue
            except TRANSPORT_ERRORS as error:
                if (now := moved()) != before:
                    failures, since, before = 0, time.monotonic(), now
                failures += 1
                if time.monotonic() - since > patience_s:
                    sentence = f"a box had no answer for {patience_s:.0f} s ({type(error).__name__})"
                    raise UnreachedError(ErrorCode.DOWNLOAD_FAILED, sentence) from None
                log.warning("box_without_answer", error=type(error).__name__, failures=failures)
            await asyncio.sleep(backoff_s(failures, first_s=FIRST_RETRY_S, longest_s=LONGEST_RETRY_S))


async def find_obstacle(session: aiohttp.ClientSession, address: str) -> str:
    """Say what keeps a box from the listener at this address: an error's name. Empty: it answers, whatever it says."""
    try:
        async with session.get(address, timeout=aiohttp.ClientTimeout(total=REACH_S), allow_redirects=False):
            return ""
    except TRANSPORT_ERRORS as error:
        return type(error).__name__


async def judge(response: aiohttp.ClientResponse) -> None:
    """Raises FencedError where the attempt is over, ClientError where a second try may help, else BtworkerError."""
    if response.status < 400:
        return
    if response.status in (401, 410):
        raise FencedError
    try:
        error = (await response.json())["error"]
        code, message = CODES[error["code"]], str(error["message"])
    except (ValueError, KeyError, TypeError, aiohttp.ContentTypeError):
        code, message = ErrorCode.INTERNAL, f"the front end answered {response.status}"
    if code.retryable and code is not ErrorCode.DISK_FULL:
        raise aiohttp.ClientPayloadError(message)
    raise BtworkerError(code, message)
