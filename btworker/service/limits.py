"""Limits of single keys: requests a minute, jobs waiting, audio a day, bytes stored. A refusal says when to try again.

A key has the limits that it was given, and the operator has none. Requests are counted in memory; the rest is looked
up when a submission comes, in the job table and the accounts, and once more when all of it is here. Of the places that
all keys share, in the queue and for uploads, none takes the last. Parent.
"""

import asyncio
import math
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

from btworker.accounts import day_of
from btworker.config import MIB, Settings
from btworker.errors import BtworkerError, ErrorCode
from btworker.service.keys import Keys
from btworker.service.live_jobs import LivePhase
from btworker.service.resumable import ResumableUploads
from btworker.service.table import JobTable

DAY_S = 86_400
QUEUE_RETRY_S = 30
STORED_RETRY_S = 600
"""Seconds; results go with their deletion, or with WORKER_RETENTION_HOURS."""
TIMES_FREE = 4
"""How many times as many places as are free one of several keys may have."""


def places_left(places: int, taken: int, own: int) -> int:
    """How many more places one of several keys may take, where so many are taken, `own` of them by itself.

    Each has its share, and nobody takes the last who has one: whoever comes only now finds room. A dynamic threshold
    (Choudhury and Hahne, 1998): of many places one key gets four fifths, two keys get four ninths each.
    """
    free = places - taken
    if free > 0 and own == 0:
        return 1 + places_left(places, taken + 1, 1)
    return max(-((own - TIMES_FREE * (free - 1)) // (TIMES_FREE + 1)), 0)


class Bucket:
    """Requests that a key may still make: full at first, and refilled evenly."""

    def __init__(self, per_minute: int, now: float) -> None:
        self.per_minute = per_minute
        self._left = float(per_minute)
        self._at = now

    def take(self, now: float) -> float:
        """Take one; 0, or the seconds until there is one."""
        rate = self.per_minute / 60
        self._left = min(self._left + (now - self._at) * rate, float(self.per_minute))
        self._at = now
        if self._left < 1:
            return (1 - self._left) / rate
        self._left -= 1
        return 0.0


class KeyLimits:
    """See the module's docstring. `clock` gives seconds since the epoch."""

    def __init__(
        self, keys: Keys, table: JobTable, resumable: ResumableUploads, settings: Settings, clock: Callable[[], float]
    ) -> None:
        self._keys = keys
        self._table = table
        self._resumable = resumable
        self._settings = settings
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._coming: Counter[str] = Counter()
        """Jobs of each owner that are being accepted, and wait in a moment."""

    def take_request(self, owner: str) -> None:
        """Count a request. Raises RATE_LIMITED."""
        most = self._keys.limits_of(owner).requests
        if most is None:
            return
        now = time.monotonic()
        bucket = self._buckets.get(owner)
        if bucket is None or bucket.per_minute != most:
            bucket = self._buckets[owner] = Bucket(most, now)
        if wait_s := bucket.take(now):
            message = f"this key may make {most} requests a minute; try again in {math.ceil(wait_s)} s"
            raise BtworkerError(ErrorCode.RATE_LIMITED, message, retry_after_s=math.ceil(wait_s))

    def room(self, owner: str) -> tuple[int, int]:
        """How many jobs of an owner may wait at once, and how many more may come. Those count whose files are being
        fetched."""
        most, limit = self._keys.limits_of(owner).waiting, self._settings.queue_limit
        taken = self._taken()
        left = max(limit - taken, 0)
        if self._keys.are_several:
            left = places_left(limit, taken, self._waiting_of(owner))
        if most is None or most >= limit:
            return limit, left
        return most, min(left, max(most - self._waiting_of(owner), 0))

    def check_waiting(self, owner: str) -> None:
        """Raise QUEUE_FULL where as many jobs wait as may, or as many of this owner."""
        limit, left = self.room(owner)
        if left > 0:
            return
        if (taken := self._taken()) >= self._settings.queue_limit:
            message = f"{taken} jobs are waiting already (WORKER_QUEUE_LIMIT)"
        elif (own := self._waiting_of(owner)) >= limit:
            message = f"{own} jobs of this key are waiting already, of {limit} that may"
        else:
            message = f"{own} jobs of this key are waiting already; what WORKER_QUEUE_LIMIT leaves is for others"
        raise BtworkerError(ErrorCode.QUEUE_FULL, f"{message}; try again later", retry_after_s=QUEUE_RETRY_S)

    def check_begun(self, owner: str) -> None:
        """Raise QUEUE_FULL where as many uploads are begun as may be, or as many of this owner."""
        limit, by_owner = self._settings.resumable_limit, self._resumable.begun()
        taken, own = sum(by_owner.values()), by_owner[owner]
        if taken >= limit:
            message = f"{taken} uploads are begun already (WORKER_RESUMABLE_LIMIT)"
        elif self._keys.are_several and not places_left(limit, taken, own):
            message = f"{own} uploads of this key are begun already; what WORKER_RESUMABLE_LIMIT leaves is for others"
        else:
            return
        raise BtworkerError(ErrorCode.QUEUE_FULL, f"{message}; try again later")

    def _taken(self) -> int:
        return self._table.live.count(LivePhase.WAITING) + self._coming.total()

    def _waiting_of(self, owner: str) -> int:
        waiting = self._table.waiting.of(owner) + self._coming[owner]
        if self._table.live.count(LivePhase.WAITING) > len(self._table.waiting):  # files of some are being fetched
            waiting += sum(bool(job.sources) and job.owner == owner for job in self._table.live.values())
        return waiting

    @contextmanager
    def coming(self, owner: str) -> Iterator[None]:
        """Count a job as one that waits, until the end of the block, by when it does or is refused."""
        self._coming[owner] += 1
        try:
            yield
        finally:
            self._coming[owner] -= 1

    @asynccontextmanager
    async def counting(self, owner: str, incoming_bytes: int) -> AsyncIterator[None]:
        """`check_quotas`, and until the end of the block, by when what came is counted, nothing else of this key comes.

        Of uploads side by side each had room when it began.
        """
        limits = self._keys.limits_of(owner)
        if limits.audio_hours is None and limits.stored_mb is None:
            yield
            return
        async with self._turns[owner]:
            await self.check_quotas(owner, incoming_bytes)
            yield

    async def check_quotas(self, owner: str, incoming_bytes: int) -> None:
        """Raise QUOTA_EXCEEDED where the key has had its audio of today, or its results and inputs have no room."""
        limits = self._keys.limits_of(owner)
        if limits.audio_hours is not None:
            await self._check_audio(owner, limits.audio_hours)
        if limits.stored_mb is not None:
            await self._check_stored(owner, limits.stored_mb, incoming_bytes)

    async def _check_audio(self, owner: str, hours: float) -> None:
        now = self._clock()
        today = day_of(now)
        ended = await self._table.store.usage(today, today, owner)
        used_s = sum(one.audio_ms for one in ended) / 1000 + self._table.waiting.coming_s(owner)
        if used_s >= hours * 3600:
            message = f"this key may have {hours:g} hours of audio transcribed a day (UTC), and has {used_s / 3600:.2f}"
            wait_s = DAY_S - int(now) % DAY_S
            raise BtworkerError(ErrorCode.QUOTA_EXCEEDED, f"{message}; try again tomorrow", retry_after_s=wait_s)

    async def _check_stored(self, owner: str, most_mb: int, incoming_bytes: int) -> None:
        stored = await self._table.store.stored_bytes(owner, with_inputs=self._settings.keep_inputs)
        stored += self._resumable.stored_bytes(owner)
        if stored + incoming_bytes > most_mb * MIB:
            message = (
                f"this key may store {most_mb} MB, has {stored / MIB:.1f} MB of results and inputs here, and sends"
            )
            message = f"{message} {incoming_bytes / MIB:.1f} MB more; delete jobs that are no longer wanted"
            raise BtworkerError(ErrorCode.QUOTA_EXCEEDED, message, retry_after_s=STORED_RETRY_S)
