"""What is known of the one child that has a worker's place now, and so why it ended. Parent."""

from dataclasses import dataclass, field

from btworker.errors import FAILURE_REASONS, ErrorCode
from btworker.messages import Blame
from btworker.pool import RESTART_REASONS
from btworker.pool.process import Gone
from btworker.pool.tasks import SignOfLife

GPU_BROKE_LATE = "the GPU reported an error while speakers were told apart"
NOT_CANCELED = "was killed, since a job in it did not stop when it was canceled"


@dataclass(slots=True)
class Life:
    """From a child's start to its end."""

    start: SignOfLife = field(default_factory=SignOfLife)
    loaded: bool = False
    jobs: int = 0
    """That it has done."""
    rss_bytes: int = 0
    """When it became ready."""
    ends_for: ErrorCode | None = None
    """What it said before it went, or what we killed it for; None: it died without a word."""
    why: str = ""
    """The same in words that follow a subject; empty where its exit code says it."""
    struck: bool = False
    """It was the last of several: the GPU gets a rest."""
    worn_out: str = ""
    """Why it takes no more jobs, and gives way once the last one in it is over."""
    recycled: bool = False
    """It was told to give way."""
    shared: bool = False
    """It ended itself while several jobs were in it, whichever of them are left now."""

    @property
    def hung(self) -> bool:
        """It was killed for its silence."""
        return self.ends_for is ErrorCode.TIMEOUT

    @property
    def code(self) -> ErrorCode:
        """How a job that it cost is called."""
        return ErrorCode.TIMEOUT if self.hung else ErrorCode.WORKER_CRASHED

    @property
    def restart_reason(self) -> str:
        """One of RESTART_REASONS."""
        if self.recycled:
            return "recycled"
        reason = FAILURE_REASONS.get(self.ends_for or ErrorCode.WORKER_CRASHED, "internal")
        return reason if reason in RESTART_REASONS else "internal"

    def blame(self, *, jobs_left: int) -> Blame:
        """Of each job that was in it at its end."""
        if self.ends_for is ErrorCode.CANCELED:
            return Blame.NONE
        return Blame.SHARED if self.shared or jobs_left > 1 else Blame.OWN

    def sentence(self, event: Gone) -> str:
        """How it ended; follows a subject."""
        return self.why or (event.sentence if self.loaded else f"{event.sentence} while it loaded")
