"""Blocks in two stages, each for one of them at a time: the networks, which are the device's work, and the clusters of
their voices, which are the host's. Where there is a GPU, a block hands the networks to the next one, of whichever job,
as soon as it has the place at the clusters: the GPU goes on meanwhile, and no more than two blocks are in memory.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from btworker.engine.cooperate.ticket import Condition

Hook = Callable[..., None]
POLL_S = 0.2
"""Seconds between two looks of a block that waits for the clusters at whether it is still wanted."""


class Relay:
    """Both stages, for all jobs of a child."""

    def __init__(self) -> None:
        self._waiting: list[Place] = []
        self._clusters = threading.Lock()

    @contextmanager
    def place(self) -> Iterator["Place"]:
        """Stand in line for the networks during the block, first come, first served."""
        place = Place(self._waiting, self._clusters)
        self._waiting.append(place)
        try:
            yield place
        finally:
            place.leave()


class Place:
    """That of one block of a recording."""

    def __init__(self, waiting: list["Place"], clusters: threading.Lock) -> None:
        self._waiting = waiting
        self._clusters = clusters
        self.first = Condition(lambda: self._waiting[:1] == [self])
        """Done once the networks are this block's."""

    def leave(self) -> None:
        """Let the next one have the networks; may be called again, and from any thread."""
        if self in self._waiting:
            self._waiting.remove(self)

    @contextmanager
    def handed_over(self, hook: Hook) -> Iterator[Hook]:
        """Give pyannote a hook by which the networks go to the next block once they are through with this one."""
        with ExitStack() as at_the_end:

            def reported(step: str, *args: Any, **named: Any) -> None:
                hook(step, *args, **named)
                if step == "embeddings" and not named.get("total"):  # which it has while they are being made
                    while not self._clusters.acquire(timeout=POLL_S):
                        hook("waiting")
                    at_the_end.callback(self._clusters.release)
                    self.leave()

            yield reported
