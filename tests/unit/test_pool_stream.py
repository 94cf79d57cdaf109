"""A pool's stream of events fails with the task that it cannot do without."""

import asyncio

import pytest

from btworker.pool import PoolEvent, RoomChanged
from btworker.pool.stream import EventStream


async def _fail() -> None:
    raise RuntimeError("the watch failed")


async def _forever() -> None:
    await asyncio.Event().wait()


async def _read(stream: EventStream, read: list[PoolEvent]) -> None:
    async for event in stream:
        read.append(event)  # noqa: PERF401 - what came before an error counts


async def test_what_was_put_comes_before_the_error_of_a_task() -> None:
    """Nothing is lost, and who reads the stream learns of the failure: without it, hung children went unnoticed."""
    stream, read = EventStream(), list[PoolEvent]()
    stream.put(RoomChanged())
    stream.depend_on(asyncio.create_task(_fail()))
    with pytest.raises(RuntimeError, match="the watch failed"):
        await _read(stream, read)
    assert read == [RoomChanged()]


async def test_a_task_that_is_cancelled_at_the_end_is_no_failure() -> None:
    """As a stop does it; the stream ends."""
    stream = EventStream()
    task = asyncio.create_task(_forever())
    stream.depend_on(task)
    task.cancel()
    await asyncio.wait({task})
    stream.end()
    assert [event async for event in stream] == []
