"""Generators told as others: their steps as events, or without those that say nothing."""

from collections.abc import Callable, Generator
from contextlib import closing
from typing import TypeVar

StepT = TypeVar("StepT")
TellT = TypeVar("TellT")
ResultT = TypeVar("ResultT")


def relay(steps: Generator[StepT, None, ResultT], event: Callable[[StepT], TellT]) -> Generator[TellT, None, ResultT]:
    """The same generator, with its steps told as events."""
    with closing(steps):
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                result: ResultT = end.value
                return result
            yield event(step)


def without_none(steps: Generator[StepT | None, None, ResultT]) -> Generator[StepT, None, ResultT]:
    """The same generator, without the steps that say nothing."""
    with closing(steps):
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                result: ResultT = end.value
                return result
            if step is not None:
                yield step
