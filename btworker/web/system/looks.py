"""What the data disk and the job table said last: machines ask again and again, and either may be slow. Parent.

A look that is under way is everybody's, and nobody waits for it beyond their own patience: a scrape takes no longer
while the disk is at its limit, and says so once the disk does not answer.
"""

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from btworker.service import JobService
from btworker.storage import DataFolder, DiskSpace

T = TypeVar("T")
ANSWER_S = 1.0
"""Seconds after which something that was asked counts as not answering."""
STORE_GOOD_FOR_S = 1.0
"""Seconds that a look at the store is good for: readiness is asked without a token, and a look costs a write."""
SOUND = ""
"""What the store says where nothing is wrong."""


class Look(Generic[T]):
    """One question, and its last answer; where `ask` raises an OSError, there is none."""

    def __init__(self, ask: Callable[[], Awaitable[T]], *, good_for_s: float) -> None:
        self._ask = ask
        self._good_for_s = good_for_s
        self._last: T | None = None
        self._asking: asyncio.Future[T] | None = None
        self._asked_at = float("-inf")

    @property
    def has_answered(self) -> bool:
        """Whether there is an answer, however old."""
        return self._last is not None

    async def seen(self, within_s: float) -> T | None:
        """The answer, or the last one where the new one takes longer than `within_s`; None where there is none, or
        where the new one has taken ANSWER_S."""
        if self._asking is None and time.monotonic() - self._asked_at >= self._good_for_s:
            self._asking, self._asked_at = asyncio.ensure_future(self._ask()), time.monotonic()
            self._asking.add_done_callback(self._answered)
        if self._asking is not None:
            await asyncio.wait({self._asking}, timeout=within_s)
        is_late = self._asking is not None and time.monotonic() - self._asked_at >= ANSWER_S
        return None if is_late else self._last

    def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()

    def _answered(self, asking: "asyncio.Future[T]") -> None:
        self._asking = None
        if not asking.cancelled():
            self._last = None if isinstance(asking.exception(), OSError) else asking.result()


class Looks:
    """Those of one worker."""

    def __init__(self, data: DataFolder, service: JobService) -> None:
        self.disk = Look[DiskSpace](lambda: data.run(data.disk_space), good_for_s=0.0)
        """Room on the data disk."""
        self.store = Look[str](lambda: _look_at_store(service), good_for_s=STORE_GOOD_FOR_S)
        """What is wrong with the job table; SOUND where nothing is."""

    @property
    def have_answered(self) -> bool:
        """Whether there is an answer to each."""
        return self.disk.has_answered and self.store.has_answered

    async def seen(self, within_s: float) -> tuple[DiskSpace | None, str | None]:
        """Both, asked at once: see Look."""
        return await asyncio.gather(self.disk.seen(within_s), self.store.seen(within_s))

    def close(self) -> None:
        """See Look."""
        self.disk.close()
        self.store.close()


async def _look_at_store(service: JobService) -> str:
    try:
        await service.check_store()
    except sqlite3.Error:
        return "the job table cannot be written"
    return SOUND
