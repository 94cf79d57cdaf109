"""Cores that torch uses on a CPU, thread by thread, and how those who compute at once share them. Runs in the child."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

import torch

from btworker.engine.stack.trials import Trials

Result = TypeVar("Result")
_helpers = ThreadPoolExecutor(thread_name_prefix="cores")
"""Threads come with the first shares."""


def use_cores(count: int) -> None:
    """Have the operations of the calling thread use so many cores."""
    torch.get_num_threads()  # a thread's first look sets it to the process's number: that must not come later
    torch.set_num_threads(count)


def divided(shares: Sequence[Callable[[], Result]]) -> list[Result]:
    """Compute shares of the calling thread's work at once, each on one core: at most as many as it may use. Returns
    what each returns; raises what one of them raises.

    Where an operation is short, cores that wait for each other at the end of each take longer than one alone, and many
    times as long where others want them as well.
    """
    cores, mode = torch.get_num_threads(), torch.is_inference_mode_enabled()

    def compute(share: Callable[[], Result]) -> Result:
        use_cores(1)
        with torch.inference_mode(mode):  # which is the thread's own
            return share()

    own, *others = shares
    begun = [_helpers.submit(compute, share) for share in others]
    try:
        first = compute(own)
    finally:
        use_cores(cores)
        wait(begun)
    return [first, *(one.result() for one in begun)]


class Cores:
    """Cores of a child for those of its threads that have something to compute: at most one thread a core."""

    def __init__(self, count: int = 0) -> None:
        """`count` of 0: one thread at a time, and torch's own number, which stays as it is."""
        self._count = count
        self._places = threading.Semaphore(max(1, count))
        self._lock = threading.Lock()
        self._trials = Trials()
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

    def use(self) -> None:
        """Have the calling thread use its share of the cores."""
        if self._count:
            use_cores(self._share())

    @contextmanager
    def of_use(self, rows: int) -> Iterator[None]:
        """Compute a step of so many rows, by as many of the share as are of use for it; one thread at a time."""
        if not self._count:
            yield
            return
        cores = self._trials.choose(rows, self._share())
        use_cores(cores)
        began = time.perf_counter()
        yield
        self._trials.note(rows, cores, time.perf_counter() - began)
        self.use()

    def _share(self) -> int:
        return max(1, self._count // max(1, self._users))

    def _add(self, users: int) -> None:
        with self._lock:
            self._users += users
