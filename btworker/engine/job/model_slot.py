"""The one model that a child has loaded, leased to the jobs that use it. Runs in the child.

Jobs of one model share it; a job that asks for another one waits until those before it have given it back, and those
after it wait for it, so that nobody waits for ever.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

Loaded = TypeVar("Loaded")
CANCEL_POLL_S = 0.1
"""Seconds between two looks of a waiting job at whether it was canceled."""


class ModelSlot(Generic[Loaded]):
    """The place of what `load` makes of a name; what was loaded before is dropped first. Used from several threads.

    `rest` is called with it when the last of those who use it has given it back; nobody gets it meanwhile.
    """

    def __init__(self, load: Callable[[str], Loaded], rest: Callable[[Loaded], None] = lambda _: None) -> None:
        self._load = load
        self._rest = rest
        self._changed = threading.Condition()
        self._queue: deque[object] = deque()
        self._readers = 0
        self._loaded: tuple[str, Loaded] | None = None

    @property
    def name(self) -> str:
        """Name of what is loaded; empty where nothing is."""
        return "" if self._loaded is None else self._loaded[0]

    @contextmanager
    def lease(self, name: str, check: Callable[[], None]) -> Iterator[Loaded]:
        """Lease what has this name, loaded in place of another one if need be.

        Raises what `check` raises while it waits, and what `load` raises.
        """
        with self._first_in_line(check):
            with self._changed:
                while self._readers and self.name != name:
                    self._changed.wait(CANCEL_POLL_S)
                    check()
            loaded = self._get(name)
            self._count(1)
        try:
            yield loaded
        finally:
            self._count(-1)

    @contextmanager
    def lease_if_loaded(self, name: str) -> Iterator[Loaded | None]:
        """Lease at once what is loaded under this name; None where another one is, or is waited for."""
        with self._changed:
            loaded = self._loaded[1] if self._loaded is not None and self.name == name and not self._queue else None
            self._readers += loaded is not None
        try:
            yield loaded
        finally:
            self._count(-1 if loaded is not None else 0)

    @contextmanager
    def _first_in_line(self, check: Callable[[], None]) -> Iterator[None]:
        """Let in one at a time, in the order in which they came."""
        me = object()
        self._queue.append(me)
        try:
            with self._changed:
                while self._queue[0] is not me:
                    self._changed.wait(CANCEL_POLL_S)
                    check()
            yield
        finally:
            with self._changed:
                self._queue.remove(me)
                self._changed.notify_all()

    def _count(self, readers: int) -> None:
        with self._changed:
            self._readers += readers
            if readers < 0 and not self._readers and self._loaded is not None:
                self._rest(self._loaded[1])
            self._changed.notify_all()

    def _get(self, name: str) -> Loaded:
        if self._loaded is None or self._loaded[0] != name:
            self._loaded = None  # before the next one comes: there may not be room for both
            self._loaded = (name, self._load(name))
        return self._loaded[1]
