"""The jobs at work in one child, and when each of them last gave a sign of life. Bookkeeping of worker.py; parent."""

import time
from dataclasses import dataclass, field

from btworker.jobs import JobId, Stage
from btworker.messages import FileDone, HelpTask, JobEvent, Progressed, RunTask, WindowDone
from btworker.pool.limits import ChildLimits

WRITTEN = -1
"""In place of a file: all that were begun are done, and the last one's limit holds until the next, or their end."""


@dataclass(slots=True)
class SignOfLife:
    """The last word of a job, or of a child that starts, and what it was doing then."""

    stages: dict[int, Stage] = field(default_factory=dict)
    """Of each file of the job that is at work; empty: the child starts."""
    at: float = field(default_factory=time.monotonic)
    suspected: bool = False

    def heard(self) -> None:
        """It said something now."""
        self.at, self.suspected = time.monotonic(), False

    def silence(self, limits: ChildLimits) -> str:
        """Why it counts as hung, follows a subject; empty where it does not. It takes two looks, a word between them
        resets it: our own loop may have stood still, and what was said meanwhile is heard before the next look."""
        slowest = max(self.stages.values(), key=limits.silence_s, default=None)
        limit_s = limits.silence_s(slowest)
        if time.monotonic() - self.at < limit_s:
            self.suspected = False
        elif self.suspected:
            doing = "loading" if slowest is None else slowest.value.replace("_", " ")
            return f"was killed after {limit_s:g} s without a sign of life while {doing}"
        else:
            self.suspected = True
        return ""


class Tasks:
    """The jobs that a child has; at most as many as it has slots."""

    def __init__(self) -> None:
        self._tasks: dict[JobId, RunTask] = {}
        self._signs: dict[JobId, SignOfLife] = {}
        self._help: tuple[HelpTask, SignOfLife] | None = None

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, task: RunTask) -> bool:
        return self._tasks.get(task.job_id) is task

    @property
    def ids(self) -> tuple[JobId, ...]:
        """Whose they are, in the order of their start."""
        return tuple(self._tasks)

    @property
    def model(self) -> str:
        """The one that all of them want; empty where there are none."""
        return next((task.options.model for task in self._tasks.values()), "")

    @property
    def has_lone_one(self) -> bool:
        """One of them wants no other beside it."""
        return any(task.alone for task in self._tasks.values())

    def get(self, job_id: JobId) -> RunTask | None:
        """The task of this job, where it is here."""
        return self._tasks.get(job_id)

    def begin(self, task: RunTask) -> None:
        """The child was given one more."""
        self._tasks[task.job_id] = task
        self._signs[task.job_id] = SignOfLife({0: Stage.INITIALIZING})

    def heard(self, event: JobEvent) -> None:
        """One of them said something."""
        if (sign := self._signs.get(event.job_id)) is None:
            return
        sign.heard()
        if isinstance(event, Progressed | WindowDone):
            sign.stages.pop(WRITTEN, None)
        if isinstance(event, Progressed):
            sign.stages[event.file_index] = event.stage
        elif isinstance(event, WindowDone):
            sign.stages[event.file_index] = Stage.TRANSCRIBING
        elif isinstance(event, FileDone):
            stage = sign.stages.pop(event.file_index, Stage.TRANSCRIBING)
            if not sign.stages:
                sign.stages[WRITTEN] = stage

    def end(self, job_id: JobId) -> None:
        """One of them is over."""
        self._tasks.pop(job_id, None)
        self._signs.pop(job_id, None)

    @property
    def helps(self) -> bool:
        """The child is at another one's recording."""
        return self._help is not None

    def help_with(self, task: HelpTask) -> None:
        """The child was sent there."""
        self._help = task, SignOfLife({0: Stage.TRANSCRIBING})

    def heard_of_help(self) -> None:
        """It said something of it."""
        if self._help is not None:
            self._help[1].heard()

    def help_ended(self) -> HelpTask | None:
        """It is not there any more; what it was, where it was there."""
        task, self._help = None if self._help is None else self._help[0], None
        return task

    def silent(self, limits: ChildLimits) -> tuple[JobId, str] | None:
        """The first one that counts as hung, and why."""
        signs = list(self._signs.items())
        if self._help is not None:
            signs.append((self._help[0].job_id, self._help[1]))
        silences = [(job_id, sign.silence(limits)) for job_id, sign in signs]
        return next(((job_id, why) for job_id, why in silences if why), None)

    def take_all(self) -> tuple[RunTask, ...]:
        """All of them, of which there is none any more."""
        tasks = tuple(self._tasks.values())
        self._tasks.clear()
        self._signs.clear()
        return tasks
