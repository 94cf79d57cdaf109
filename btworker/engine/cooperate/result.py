"""What a generator returns, for whoever has no use for what it yields."""

import time
from collections.abc import Coroutine, Generator
from typing import TypeVar

from btworker.engine.cooperate.ticket import IDLE_S, Ticket

T = TypeVar("T")


def result_of(steps: Generator[object, None, T] | Coroutine[object, None, T]) -> T:
    """Run a generator, or a coroutine whose tickets other threads answer, to its end. Raises what it raises."""
    while True:
        try:
            waited_for = steps.send(None)
            if isinstance(waited_for, Ticket) and not waited_for.done:
                time.sleep(IDLE_S)
        except StopIteration as end:
            result: T = end.value
            return result
