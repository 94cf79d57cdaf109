"""Which child helps with which recording: those that have nothing to do, with the long ones of the others. Parent.

A child offers a recording that it transcribes; until nothing is left of it, each idle child that has the same model is
sent there, and again after a job of its own. Where one of them fails, perhaps for the recording's sake, nobody is sent
there any more.
"""

from btworker.jobs import JobId
from btworker.messages import Failed, FileDone, Finished, Helped, HelpTask, RunTask, WorkerLost

HelpEvent = HelpTask | Helped
"""What a worker says of help: a recording is offered, and how help ended."""


def help_with(task: RunTask, file_index: int, take: int = 0) -> HelpTask:
    """What a helper gets of another one's task."""
    return HelpTask(task.job_id, task.folder, file_index, task.inputs[file_index], task.options, take)


class Offers:
    """The recordings that are on offer, the oldest first."""

    def __init__(self) -> None:
        self._tasks: dict[tuple[JobId, int, int], HelpTask] = {}
        self._failed: set[JobId] = set()
        """Jobs with which a helper failed, since their last offer."""

    @property
    def tasks(self) -> tuple[HelpTask, ...]:
        """All of them."""
        return tuple(self._tasks.values())

    def has_failed(self, job_id: JobId) -> bool:
        """Whether a helper failed with the job."""
        return job_id in self._failed

    def note(self, event: object) -> None:
        """Begin or end an offer, where the event does."""
        match event:
            case HelpTask():
                self._tasks[event.job_id, event.file_index, event.take] = event
                self._failed.discard(event.job_id)
            case Helped():
                if event.through:
                    self._tasks.pop((event.job_id, event.file_index, event.take), None)
                if event.error is not None:
                    self._drop(event.job_id)
                    self._failed.add(event.job_id)
            case FileDone():
                self._drop(event.job_id, event.file_index)
            case Finished() | Failed() | WorkerLost():
                self._drop(event.job_id)
                self._failed.discard(event.job_id)

    def of(self, model: str) -> HelpTask | None:
        """One for a child that has this model."""
        return next((task for task in self._tasks.values() if task.options.model == model), None)

    def _drop(self, job_id: JobId, file_index: int | None = None) -> None:
        """Forget the takes of one input, or of all inputs of a job."""
        for key in [key for key in self._tasks if key[0] == job_id and file_index in (None, key[1])]:
            del self._tasks[key]
