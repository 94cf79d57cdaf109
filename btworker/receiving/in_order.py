"""Calls that keep their order in an executor of many threads: what is hashed, what is written. Any thread."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from threading import Condition


class InOrder:
    """Calls one after the other, in one thread of the executor; after one that failed none is made any more."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._calls: deque[Callable[[], None]] = deque()
        """Those to make; the first is being made."""
        self._changed = Condition()
        self._task: Future[None] | None = None
        """Makes them; None while there are none."""

    def submit(self, call: Callable[[], None]) -> None:
        """Make the call once those before it are made."""
        with self._changed:
            self._calls.append(call)
            if self._task is None:
                self._task = self._executor.submit(self._run)
                self._task.add_done_callback(self._notify)

    def wait(self, *, but: int = 0) -> None:
        """Wait until at most so many are still to be made. Raises what one of them raised, also again."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._calls) <= but or self._has_failed())
            task = self._task if self._has_failed() else None
        if task is not None:
            task.result()

    def _has_failed(self) -> bool:
        return self._task is not None and self._task.done()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._calls:
                    self._task = None
                    return
                call = self._calls[0]
            call()
            with self._changed:
                self._calls.popleft()
                self._changed.notify_all()

    def _notify(self, _: "Future[None]") -> None:
        with self._changed:
            self._changed.notify_all()
