"""Limits of single keys: requests a minute, jobs waiting, audio a day, bytes stored. A refusal says when to try again.

A key has the limits that it was given, and the operator has none. Requests are counted in memory; the rest is looked
up when a submission comes, in the job table and the accounts. Parent.
"""

import math
import time
from collections.abc import Callable

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
        self._with_inputs = settings.keep_inputs
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}

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

    def check_waiting(self, owner: str) -> None:
        """Raise QUEUE_FULL where as many jobs of the key wait as may; those whose files are being fetched as well."""
        most = self._keys.limits_of(owner).waiting
        if most is None:
            return
        waiting = self._table.waiting.of(owner)
        if self._table.live.count(LivePhase.WAITING) > len(self._table.waiting):  # files of some are being fetched
            waiting += sum(bool(job.sources) and job.owner == owner for job in self._table.live.values())
        if waiting >= most:
            message = f"{waiting} jobs of this key are waiting already, of {most} that may; try again later"
            raise BtworkerError(ErrorCode.QUEUE_FULL, message, retry_after_s=QUEUE_RETRY_S)

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
        stored = await self._table.store.stored_bytes(owner, with_inputs=self._with_inputs)
        stored += self._resumable.stored_bytes(owner)
        if stored + incoming_bytes > most_mb * MIB:
            message = (
                f"this key may store {most_mb} MB, has {stored / MIB:.1f} MB of results and inputs here, and sends"
            )
            message = f"{message} {incoming_bytes / MIB:.1f} MB more; delete jobs that are no longer wanted"
            raise BtworkerError(ErrorCode.QUOTA_EXCEEDED, message, retry_after_s=STORED_RETRY_S)
