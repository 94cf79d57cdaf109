"""A pool's one stream of events. It fails where a task does that the pool cannot do without, and so does the service,
which reads it. Parent.
"""

import asyncio
from collections.abc import AsyncIterator

from btworker.pool import PoolEvent


class EventStream:
    """Events in their order, for one reader."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[PoolEvent | BaseException | None] = asyncio.Queue()

    def put(self, event: PoolEvent) -> None:
        """Append an event."""
        self._queue.put_nowait(event)

    def end(self) -> None:
        """Have the stream end after all that was put."""
        self._queue.put_nowait(None)

    def depend_on(self, task: "asyncio.Task[None]") -> None:
        """Have the stream fail with the error of a task, should it have one."""
        task.add_done_callback(self._on_end)

    def _on_end(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._queue.put_nowait(error)

    async def __aiter__(self) -> AsyncIterator[PoolEvent]:
        while (event := await self._queue.get()) is not None:
            if isinstance(event, BaseException):
                raise event
            yield event
