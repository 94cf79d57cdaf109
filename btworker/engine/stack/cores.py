"""Cores that torch uses on a CPU, thread by thread, and how those who compute at once share them. Runs in the child."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

ROWS_OF_A_CORE = 8
"""Rows of a product for each of which a core more is of use: BLAS gives products of fewer rows one core, and what torch
shares out of the rest takes longer to wake a thread than to compute. At 16 a second one saves a tenth of a step."""


def use_cores(count: int) -> None:
    """Have the operations of the calling thread use so many cores."""
    torch.get_num_threads()  # a thread's first look sets it to the process's number: that must not come later
    torch.set_num_threads(count)


class Cores:
    """Cores of a child for those of its threads that have something to compute: at most one thread a core."""

    def __init__(self, count: int = 0) -> None:
        """`count` of 0: one thread at a time, and torch's own number, which stays as it is."""
        self._count = count
        self._places = threading.Semaphore(max(1, count))
        self._lock = threading.Lock()
        self._users = 0

    @contextmanager
    def wanted(self) -> Iterator[None]:
        """Be one of those who share the cores during the block."""
        self._add(1)
        try:
            yield
        finally:
            self._add(-1)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Compute during the block, with an even share of the cores; waits until one is free."""
        with self._places:
            self.use()
            yield

    def use(self, *, rows: int | None = None) -> None:
        """Have the calling thread use its share of the cores, or as many of it as are of use for so many rows."""
        if self._count:
            share = max(1, self._count // max(1, self._users))
            use_cores(share if rows is None else min(share, max(1, rows // ROWS_OF_A_CORE)))

    def _add(self, users: int) -> None:
        with self._lock:
            self._users += users
