"""The service's own tasks: named and watched; where one fails, the service does. Parent."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial


class OwnTasks:
    """Tasks that last as long as the service. Made inside the event loop; `may_end`: the service stops anyway."""

    def __init__(self, *, may_end: Callable[[], bool]) -> None:
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Gets the exception when one of them fails, or ends though it should not."""
        self._may_end = may_end
        self._tasks: list[asyncio.Task[None]] = []

    def watch(self, work: Coroutine[None, None, None], *, name: str, ends: bool = False) -> None:
        """Run one; with `ends`, it may come to its end."""
        task = asyncio.create_task(work, name=f"service-{name}")
        task.add_done_callback(partial(self._on_end, ends=ends))
        self._tasks.append(task)

    def watch_each(self, *loops: Callable[[], Coroutine[None, None, None]]) -> None:
        """Run several that never end."""
        for loop in loops:
            self.watch(loop(), name=getattr(loop, "__qualname__", ""))

    async def stop(self) -> None:
        """Cancel all of them, and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _on_end(self, task: asyncio.Task[None], *, ends: bool) -> None:
        if task.cancelled() or self._may_end() or self.failed.done():
            return
        if (error := task.exception()) is not None or not ends:
            self.failed.set_exception(error or RuntimeError(f"{task.get_name()} ended"))
