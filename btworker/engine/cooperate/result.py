"""What a generator returns, for whoever has no use for what it yields."""

from collections.abc import Coroutine, Generator
from typing import TypeVar

T = TypeVar("T")


def result_of(steps: Generator[object, None, T] | Coroutine[object, None, T]) -> T:
    """Run a generator, or a coroutine that needs no answer, to its end. Raises what it raises."""
    while True:
        try:
            steps.send(None)
        except StopIteration as end:
            result: T = end.value
            return result
