"""The events of one attempt at one job, as its stages send them to the parent."""

from btworker.jobs import Stage
from btworker.messages import Progressed, RunTask, Warned


class EventFactory:
    """Makes the events of one attempt at one job."""

    def __init__(self, task: RunTask) -> None:
        self._task = task

    def progressed(self, stage: Stage, index: int, done_s: float, total_s: float) -> Progressed:
        """Make an event of how far input number `index` is, in seconds of its audio."""
        return Progressed(self._task.job_id, self._task.attempt, stage, index, done_s, total_s)

    def warned(self, sentence: str) -> Warned:
        """Make a warning about the whole job."""
        return Warned(self._task.job_id, self._task.attempt, sentence)

    def warned_of(self, index: int, sentence: str) -> Warned:
        """Make a warning about one input, which is named where there are several."""
        several = len(self._task.inputs) > 1
        return self.warned(f"{self._task.inputs[index].filename}: {sentence}" if several else sentence)
