"""How the stages of an attempt tell the parent what they do: events of one task, and generators told as events."""

from collections.abc import Callable, Generator
from contextlib import closing
from typing import TypeVar

from btworker.jobs import Stage
from btworker.messages import Progressed, RunTask, Warned

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


class Teller:
    """Makes the events of one attempt at one job."""

    def __init__(self, task: RunTask) -> None:
        self._task = task

    def progressed(self, stage: Stage, index: int, done_s: float, total_s: float) -> Progressed:
        """How far input number `index` is, in seconds of its audio."""
        return Progressed(self._task.job_id, self._task.attempt, stage, index, done_s, total_s)

    def warned(self, sentence: str) -> Warned:
        """Something about the whole job."""
        return Warned(self._task.job_id, self._task.attempt, sentence)

    def warned_of(self, index: int, sentence: str) -> Warned:
        """Something about one input, which is named where there are several."""
        several = len(self._task.inputs) > 1
        return self.warned(f"{self._task.inputs[index].filename}: {sentence}" if several else sentence)
