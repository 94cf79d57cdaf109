"""The pool of children, as service/ sees it.

    service/                           parent                                        child (spawned)
        |   pick, send(RunTask) --> supervisor.py --- task queue ------------------> child.py --> engine.run, a thread
        |                                                                                         for each slot
        |   cancel(job) ----------> supervisor.py --- control pipe ----------------> child.py (a thread)
        |                                ^                                               |
        | <---- events() ------ one stream <-- process.py <--- event queue --------------+
        |                                          ^---- sentinel: death -> WorkerLost

Rules
- One pair of queues and one control pipe per child, thrown away with it: a child that is killed while it holds a shared
  queue's lock would block everyone for ever (CPython issues 87971, 85880, 96062).
- Death is an event (end of the event queue, then the sentinel), never a missed ping. Every event that the child sent
  before it died is delivered first.
- EOF on the control pipe means that the parent died: the child ends itself at once.
- A child in which a job says nothing for longer than its stage may take (limits.py) is killed, and a GPU that fails job
  after job is left alone for a while. A child that has done much work, or has grown, gives way to a fresh one once the
  last job in it is over. One that had no job for long ends, and its successor comes with the next job.
- The jobs of one child share its fate, and its model (placing.py). Where it dies with several in it, nobody knows which
  of them was the cause: WorkerLost says so, and they run again alone.
- A child that cannot load says Unready with a sentence, and is tried again with a long back-off; the service stays up.
- Down the stack are calls, up the stack is one stream of events.
"""

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from btworker.errors import ErrorInfo
from btworker.jobs import Job, JobId
from btworker.messages import EngineInfo, JobEvent, RunTask
from btworker.specs import Device


class Phase(str, Enum):
    """What a worker is doing."""

    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    WAITING = "waiting"
    """Between a death and the next start."""
    QUARANTINED = "quarantined"
    """Its GPU failed job after job, and gets a rest."""
    UNLOADED = "unloaded"
    """It had no job for WORKER_IDLE_UNLOAD_MINUTES, and its child ended: the next job starts one."""
    RELOADING = "reloading"
    """Its child starts for a job, after UNLOADED."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class WorkerState:
    """One worker (a place for a child), for ping, ready and metrics. Times are seconds since the epoch."""

    index: int
    device: Device
    phase: Phase
    pid: int | None = None
    model: str = ""
    slots: int = 1
    """Jobs that its child can have at once."""
    clip_slots: int = 0
    """Clips that it can have beside those."""
    job_ids: tuple[JobId, ...] = ()
    """Those that it has."""
    restarts: tuple[tuple[str, int], ...] = ()
    """(reason, children lost for it) since the start; the reasons are RESTART_REASONS."""
    last_progress_at: float | None = None
    info: EngineInfo | None = None
    problem: ErrorInfo | None = None
    loads_in_s: float | None = 0.0
    """Seconds until it is likely to have a child with a model, by its last load; None: it is not known."""
    loading: str = ""
    """What its child does for a model, where that is what it is at."""
    box: str = ""
    """The machine that it is on, where there are several."""

    @property
    def label(self) -> str:
        """The value of the `gpu` label in metrics."""
        return f"{self.box}/{self.device.label}" if self.box else self.device.label

    @property
    def loaded(self) -> bool:
        """It has a child with a model."""
        return self.phase in (Phase.IDLE, Phase.BUSY)

    @property
    def ready(self) -> bool:
        """It can take jobs: now, after those that it has, or once its child is loaded for one."""
        return self.loaded or self.phase in (Phase.UNLOADED, Phase.RELOADING)


RESTART_REASONS = ("worker_crash", "gpu_oom", "gpu_error", "timeout", "canceled", "internal", "recycled")
"""Why a child had to be replaced, in the words of errors.FAILURE_REASONS: it died by itself, asked for its end after an
error of the GPU, hung, did not stop when its job was canceled and was killed, could not load (`internal`, or the GPU),
or had done enough (`recycled`)."""


class BoxStatus(str, Enum):
    """Whether a box of a fleet takes jobs, and why not."""

    READY = "ready"
    LOADING = "loading"
    """It is there, and none of its workers can take a job yet."""
    JOINING = "joining"
    DRAINED = "drained"
    """The operator wants it to get none, whatever else is the matter with it."""
    REFUSED = "refused"
    """It is of another version."""
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class BoxSummary:
    """One machine of a fleet, for ping, ready, metrics and `btworker fleet list`."""

    box: str
    status: BoxStatus
    workers: int = 0
    ready: int = 0
    """Workers that can take jobs."""
    slots: int = 0
    jobs: int = 0
    problem: str = ""
    """Why it takes none, as a sentence; empty where it does."""


@dataclass(frozen=True, slots=True)
class RoomChanged:
    """A slot became free: a waiting job may start."""


@dataclass(frozen=True, slots=True)
class HelpBegun:
    """Another box of a fleet begins to help with a recording of a job."""

    job_id: JobId
    attempt: int
    box: str


PoolEvent = JobEvent | RoomChanged | HelpBegun


class Pool(Protocol):
    """What service/ needs of a pool; the local one is pool.supervisor.Supervisor."""

    @property
    def slots(self) -> int:
        """Jobs that can be at work at once."""

    def workers(self) -> tuple[WorkerState, ...]:
        """The state of every worker, by index."""

    def boxes(self) -> tuple[BoxSummary, ...] | None:
        """The machines of a fleet, in the order in which they first joined; None for a pool that is no fleet."""

    async def start(self) -> None:
        """Begin to start the children; returns before they are ready."""

    def pick(self, waiting: Iterable[Job], goes_beside: Callable[[Job], bool]) -> JobId | None:
        """The first of the waiting jobs, in order, that can start now; None when none can. Those that go beside may
        take a place for clips.

        For one before it that needs a whole worker (to be alone, or for another model) a worker is kept free.
        """

    def send(self, task: RunTask) -> WorkerState | None:
        """Give the task of the job that was picked last to a worker; None when none can take it any more."""

    def cancel(self, job_id: JobId) -> None:
        """Ask the child to stop this job; a child that does not is killed, which ends in WorkerLost."""

    def events(self) -> AsyncIterator[PoolEvent]:
        """The one stream of events; ends after `stop`."""

    async def stop(self) -> None:
        """Stop all children by the ladder: Stop, SIGTERM, SIGKILL. Jobs in them are not reported as lost."""
