"""Asking again: for a job until it has ended, and after a connection that broke."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from btworker.client.errors import CONNECTION_LOST, RATE_LIMITED, ClientError
from btworker.client.model import Job

FIRST_POLL_S, LAST_POLL_S, POLL_GROWTH = 0.05, 2.0, 1.3
"""A short job is seen at once, a long one costs a request every two seconds."""
AWAY_S = 0.5
"""Between two looks while the server is away."""
PATIENCE_S = 60.0
"""Seconds for which `wait` goes on while the server cannot be reached: jobs survive its restart."""
RETRY_DELAYS_S = (0.5, 2.0)
"""After a lost connection. Safe, since the Idempotency-Key makes every try the same job."""


T = TypeVar("T")
LookAt = Callable[[], Awaitable[Job]]


async def repeated(attempt: Callable[[], Awaitable[Any]]) -> Any:
    """What `attempt` returns; tried again, twice, where the connection breaks. A refusal is raised at once, but that
    of a request too many."""
    for delay_s in (*RETRY_DELAYS_S, None):
        try:
            return await when_allowed(attempt)
        except ClientError as error:
            if delay_s is None or error.code != CONNECTION_LOST:
                raise
            await asyncio.sleep(delay_s)
    raise AssertionError  # the last round returned or raised


async def when_allowed(attempt: Callable[[], Awaitable[T]]) -> T:
    """What `attempt` returns; where it was a request too many, it is made again when the server says."""
    while True:
        try:
            return await attempt()
        except ClientError as error:
            if error.code != RATE_LIMITED:
                raise
            pause_s = error.pause_s
        await asyncio.sleep(pause_s)


async def ended(look: LookAt, on_update: Callable[[Job], None] | None, on_away: Callable[[], None] | None) -> Job:
    """The job, once it has ended; see Client.wait."""
    delay_s, last_seen = FIRST_POLL_S, time.monotonic()
    while True:
        job = await seen(look, last_seen, on_away)
        last_seen = time.monotonic()
        if on_update is not None:
            on_update(job)
        if job.status.finished:
            return job
        await asyncio.sleep(delay_s)
        delay_s = min(LAST_POLL_S, delay_s * POLL_GROWTH)


async def seen(look: LookAt, last_seen: float, on_away: Callable[[], None] | None) -> Job:
    """The job; a server that was away since `last_seen` (monotonic seconds) has PATIENCE_S to come back. One that is
    there, and wants fewer requests, is asked when it says."""
    while True:
        try:
            return await look()
        except ClientError as error:
            if error.code == RATE_LIMITED:
                await asyncio.sleep(error.pause_s)
                last_seen = time.monotonic()
                continue
            if not error.away or time.monotonic() - last_seen > PATIENCE_S:
                raise
        if on_away is not None:
            on_away()
        await asyncio.sleep(AWAY_S)
