"""How long a child may say nothing, how long it may live, and when a GPU gets a rest. Pure; used in the parent.

A child that hangs (a kernel that never returns, a disk that is gone, SIGSTOP) can only be distinguished from a slow one
by its silence. Every stage of healthy work says something within a known time, so each has a limit of its own.
"""

from dataclasses import dataclass

from btworker.config import Settings
from btworker.errors import ErrorCode, ErrorInfo
from btworker.jobs import JobId, Stage
from btworker.specs import Device

CANCEL_GRACE_S = 4.0
"""Seconds that a child gets to stop a job by itself; then it is killed, so that a cancel takes 5 s at most."""
STOP_GRACE_S = 2.0
"""Seconds between the steps of the stop ladder."""
WINDOW_TIMEOUT_S = {"cuda": 600.0, "cpu": 3600.0}
"""For a window of 30 s of audio, every fallback and a beam included: minutes on the oldest GPU, many on a CPU."""
DECODE_MARGIN_S = 30.0
"""The child itself gives a silent ffmpeg up first, and then says why."""
STRIKES = 3
"""Different jobs in a row that a GPU must have failed: a poison job alone, however often tried, is one of them."""


@dataclass(frozen=True, slots=True)
class ChildLimits:
    """What the parent holds a child to. Seconds are wall time; 0 stands for "never" in the last three."""

    load_s: float
    decode_s: float
    window_s: float
    quarantine_s: float = 1800.0
    jobs: int = 0
    growth_bytes: int = 0
    idle_s: float = 0.0
    """Without a job; its child then ends."""

    def silence_s(self, stage: Stage | None) -> float:
        """Seconds without an event after which the child counts as hung; None: it is starting."""
        if stage in (None, Stage.LOADING_MODEL):
            return self.load_s
        return self.decode_s if stage is Stage.INITIALIZING else self.window_s

    def worn_out(self, *, jobs: int, growth_bytes: int, at_work: int = 0) -> str:
        """Why a child should give way to a fresh one after this job; empty: it should not.

        Each of the jobs that are still at work in it may hold as much as it may have grown by.
        """
        if self.jobs and jobs >= self.jobs:
            return f"it has done {jobs} jobs (WORKER_RECYCLE_JOBS)"
        if self.growth_bytes and growth_bytes > self.growth_bytes * (1 + at_work):
            return f"it has grown by {growth_bytes >> 20} MB since its start (WORKER_RECYCLE_GROWTH_MB)"
        return ""


def child_limits(settings: Settings, device: Device) -> ChildLimits:
    """The limits of a child on this device."""
    return ChildLimits(
        load_s=settings.load_timeout_s,
        decode_s=settings.decode_stall_s + DECODE_MARGIN_S,
        window_s=settings.window_timeout_s or WINDOW_TIMEOUT_S[device.kind],
        quarantine_s=settings.quarantine_minutes * 60,
        jobs=settings.recycle_jobs,
        growth_bytes=settings.recycle_growth_mb << 20,
        idle_s=settings.idle_unload_minutes * 60,
    )


def quarantined(device: Device, limits: ChildLimits, last: str) -> ErrorInfo:
    """What the operator reads of a GPU that gets a rest; `last` is how its last child ended."""
    return ErrorInfo(
        ErrorCode.GPU_ERROR,
        f"GPU {device.label} ({device.name or 'unnamed'}) failed {STRIKES} different jobs in a row and is left alone "
        f"for {limits.quarantine_s / 60:g} minutes; look at nvidia-smi and the kernel's log; last, its process {last}",
    )


class Strikes:
    """Counts the different jobs that a GPU failed since the last one that it finished."""

    def __init__(self) -> None:
        self._jobs: set[JobId] = set()

    def clear(self) -> None:
        """A job was finished: the GPU works."""
        self._jobs.clear()

    def strike(self, job_id: JobId) -> bool:
        """Count a job; True when the GPU should get a rest. After one, a single further failure is enough."""
        self._jobs.add(job_id)
        return len(self._jobs) >= STRIKES
