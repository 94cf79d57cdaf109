"""What is known of the one child that has a worker's place now, and what its end means. Parent.

worker.py notes facts in a ChildRecord while the child lives; once it is gone, end_of() makes of them the one End by
which the worker acts.
"""

import time
from dataclasses import dataclass, field
from enum import Enum

from btworker.errors import FAILURE_REASONS, ErrorCode
from btworker.messages import Blame
from btworker.pool import RESTART_REASONS
from btworker.pool.limits import ChildLimits
from btworker.pool.tasks import SignOfLife

GPU_BROKE_LATE = "the GPU reported an error while speakers were told apart"
NOT_CANCELED = "was killed, since a job in it did not stop when it was canceled"


@dataclass(slots=True)
class ChildRecord:
    """Facts, from a child's start to its end."""

    start: SignOfLife = field(default_factory=SignOfLife)
    loaded: bool = False
    """It has been ready."""
    loading: str = ""
    """What it does for a model now; empty where that is not what it is at."""
    load_s: float | None = None
    """Seconds from a start to Ready, its own or, before that, its predecessor's."""
    jobs: int = 0
    """Jobs that it has done."""
    rss_bytes: int = 0
    """Its resident memory when it became ready."""
    ends_for: ErrorCode | None = None
    """What it said before it went, or what we killed it for; None: it died without a word."""
    why: str = ""
    """The same in words that follow a subject; empty where its exit code says it."""
    quarantines_gpu: bool = False
    """It was the last of several that failed: the GPU gets a rest."""
    worn_out: str = ""
    """Why it takes no more jobs, and gives way once the last one in it is over."""
    recycled: bool = False
    """It was asked to give way."""
    unloaded: bool = False
    """It was asked to end, for want of jobs."""
    idle_at: float = field(default_factory=time.monotonic)
    """When it last had something to do, by the monotonic clock."""
    shared: bool = False
    """It ended itself while several jobs were in it, whichever of them are left now."""

    @property
    def leaves(self) -> bool:
        """It was asked to end, and has nothing to do any more."""
        return self.recycled or self.unloaded

    @property
    def loads_in_s(self) -> float | None:
        """Seconds until a child is likely to be ready; None where none has been yet."""
        if self.loaded and not self.unloaded:
            return 0.0
        if self.load_s is None or self.unloaded:
            return self.load_s
        return max(self.load_s - (time.monotonic() - self.start.at), 0.0)

    def is_ready(self, *, rss_bytes: int) -> None:
        """Note that it has loaded its model just now."""
        self.loaded, self.loading, self.rss_bytes = True, "", rss_bytes
        self.idle_at = time.monotonic()
        self.load_s = self.idle_at - self.start.at

    def wear(self, limits: ChildLimits, *, rss_bytes: int, at_work: int) -> None:
        """Note that it gives way once its jobs are over, where it has done or grown enough."""
        grown = rss_bytes - self.rss_bytes
        self.worn_out = self.worn_out or limits.worn_out(jobs=self.jobs, growth_bytes=grown, at_work=at_work)

    def idle_for(self, limit_s: float) -> bool:
        """Whether it had nothing to do for so long; never where the limit is 0."""
        return 0 < limit_s <= time.monotonic() - self.idle_at


class NextStart(Enum):
    """When the next child starts."""

    AT_ONCE = "at once"
    AFTER_CRASH = "after a delay that grows with each crash in a row"
    AFTER_FAILED_LOAD = "after a long delay: what it lacks rarely comes by itself"
    AFTER_QUARANTINE = "after the GPU's rest"
    WITH_A_JOB = "with the next job"


@dataclass(frozen=True, slots=True)
class End:
    """What the end of a child means."""

    code: ErrorCode
    """For the jobs that it cost."""
    sentence: str
    """How it ended; follows a subject."""
    restart_reason: str
    """One of RESTART_REASONS."""
    blame: Blame
    """Of each job that was in it at its end."""
    next_start: NextStart


def end_of(record: ChildRecord, *, exited: str, jobs_left: int) -> End:
    """Say what a child's end means. `exited` is how its process ended, in words that follow a subject."""
    return End(
        code=ErrorCode.TIMEOUT if record.ends_for is ErrorCode.TIMEOUT else ErrorCode.WORKER_CRASHED,
        sentence=record.why or (exited if record.loaded else f"{exited} while it loaded"),
        restart_reason="recycled" if record.recycled else _restart_reason(record.ends_for),
        blame=_blame(record, jobs_left),
        next_start=_next_start(record),
    )


def not_started(why: str) -> End:
    """The end of a child that the system would not start, for want of memory, processes or descriptors."""
    sentence = f"could not be started: {why}"
    return End(ErrorCode.WORKER_CRASHED, sentence, "internal", Blame.NONE, NextStart.AFTER_FAILED_LOAD)


def _restart_reason(ends_for: ErrorCode | None) -> str:
    reason = FAILURE_REASONS.get(ends_for or ErrorCode.WORKER_CRASHED, "internal")
    return reason if reason in RESTART_REASONS else "internal"


def _blame(record: ChildRecord, jobs_left: int) -> Blame:
    if record.ends_for is ErrorCode.CANCELED:
        return Blame.NONE
    return Blame.SHARED if record.shared or jobs_left > 1 else Blame.OWN


def _next_start(record: ChildRecord) -> NextStart:
    if record.leaves:
        return NextStart.AT_ONCE if record.recycled else NextStart.WITH_A_JOB
    if record.quarantines_gpu:
        return NextStart.AFTER_QUARANTINE
    return NextStart.AFTER_CRASH if record.loaded else NextStart.AFTER_FAILED_LOAD
