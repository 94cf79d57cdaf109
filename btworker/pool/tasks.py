"""The jobs at work in one child, and when each of them last gave a sign of life. Bookkeeping of worker.py; parent."""

import time
from dataclasses import dataclass, field
from typing import Protocol

from btworker.jobs import JobId, Stage
from btworker.messages import FileDone, HelpTask, JobEvent, Progressed, RunTask, WindowDone
from btworker.pool.limits import ChildLimits
from btworker.pool.placing import Vacancy

WRITTEN = -1
"""In place of a file: all that were begun are done, and the last one's limit holds until the next, or their end."""


@dataclass(slots=True)
class SignOfLife:
    """Last sign of life of a job, or of a child that starts, and the stages of its work then."""

    stages: dict[int, Stage] = field(default_factory=dict)
    """Of each file of the job that is at work; empty: the child starts."""
    at: float = field(default_factory=time.monotonic)
    suspected: bool = False

    def renew(self) -> None:
        """Note a sign of life now."""
        self.at, self.suspected = time.monotonic(), False

    def silence(self, limits: ChildLimits) -> str:
        """Say why it counts as hung, in words that follow a subject; empty where it does not.

        It takes two looks without an event between them: our own loop may have stood still, and events that came
        meanwhile are taken in before the next look.
        """
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


class Places(Protocol):
    """What is known of a worker's places: its WorkerSpec here, its WorkerState elsewhere."""

    @property
    def index(self) -> int: ...

    @property
    def slots(self) -> int: ...

    @property
    def clip_slots(self) -> int: ...


class Tasks:
    """The jobs that a child has; at most as many as it has slots, and some clips beside."""

    def __init__(self) -> None:
        self._tasks: dict[JobId, RunTask] = {}
        self._signs: dict[JobId, SignOfLife] = {}
        self._help: tuple[HelpTask, SignOfLife] | None = None
        self.last_progress_at: float | None = None
        """When one began or gave a sign of life, in seconds since the epoch."""

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, task: RunTask) -> bool:
        return self._tasks.get(task.job_id) is task

    @property
    def ids(self) -> tuple[JobId, ...]:
        """Their jobs, in the order of their start."""
        return tuple(self._tasks)

    @property
    def model(self) -> str:
        """Model that all of them want; empty where there are none."""
        return next((task.options.model for task in self._tasks.values()), "")

    def vacancy(self, spec: Places, loaded: str) -> Vacancy:
        """Say what is left for other jobs, in a child with this model; nothing beside one that is to be alone."""
        jobs, model = len(self._tasks), self.model or loaded
        if any(task.alone for task in self._tasks.values()):
            return Vacancy(spec.index, model, jobs, free=0)
        room = spec.slots + spec.clip_slots - jobs
        free = min(spec.slots - sum(not task.is_clip for task in self._tasks.values()), room)
        return Vacancy(spec.index, model, jobs, free, room - free)

    def get(self, job_id: JobId) -> RunTask | None:
        """Find the task of this job; None where it is not here."""
        return self._tasks.get(job_id)

    def begin(self, task: RunTask) -> None:
        """Note one more task."""
        self.last_progress_at = time.time()
        self._tasks[task.job_id] = task
        self._signs[task.job_id] = SignOfLife({0: Stage.INITIALIZING})

    def note(self, event: JobEvent) -> None:
        """Take an event of one of them as a sign of life, and note its stage."""
        self.last_progress_at = time.time()
        if (sign := self._signs.get(event.job_id)) is None:
            return
        sign.renew()
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
        """Forget a job that is over."""
        self._tasks.pop(job_id, None)
        self._signs.pop(job_id, None)

    @property
    def helps(self) -> bool:
        """Whether the child is at another one's recording."""
        return self._help is not None

    def help_with(self, task: HelpTask) -> None:
        """Note that the child was sent to another one's recording."""
        self._help = task, SignOfLife({0: Stage.TRANSCRIBING})

    def note_help(self) -> None:
        """Take a sign of life of the help."""
        if self._help is not None:
            self._help[1].renew()

    def help_ended(self) -> HelpTask | None:
        """Forget the help, and return its task, or None."""
        task, self._help = None if self._help is None else self._help[0], None
        return task

    def silent(self, limits: ChildLimits) -> tuple[JobId, str] | None:
        """Find the first job that counts as hung, and why."""
        signs = list(self._signs.items())
        if self._help is not None:
            signs.append((self._help[0].job_id, self._help[1]))
        silences = [(job_id, sign.silence(limits)) for job_id, sign in signs]
        return next(((job_id, why) for job_id, why in silences if why), None)

    def take_all(self) -> tuple[RunTask, ...]:
        """Remove and return all tasks."""
        tasks = tuple(self._tasks.values())
        self._tasks.clear()
        self._signs.clear()
        return tasks
