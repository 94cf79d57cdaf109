"""What a key used on a day: a row that grows in the transaction in which a job ends, and so counts each job once. Pure.

store/ keeps the rows; they outlive the jobs. Whole milliseconds and bytes, so that sums are exact.
"""

from dataclasses import dataclass
from datetime import datetime, timezone

from btworker.jobs import Job, JobStatus

ADD = """
INSERT INTO usage (owner, day, jobs, audio_ms, work_ms, gpu_ms, bytes) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (owner, day) DO UPDATE SET
    jobs = jobs + excluded.jobs, audio_ms = audio_ms + excluded.audio_ms, work_ms = work_ms + excluded.work_ms,
    gpu_ms = gpu_ms + excluded.gpu_ms, bytes = bytes + excluded.bytes
"""
SELECT = """
SELECT owner, day, jobs, audio_ms, work_ms, gpu_ms, bytes FROM usage
WHERE day BETWEEN ? AND ? AND owner = coalesce(?, owner) ORDER BY day, owner
"""


@dataclass(frozen=True, slots=True)
class Account:
    """What came to its end for an owner on a day; the fields in the order of the row."""

    owner: str
    day: str
    """In UTC, as 2026-11-29."""
    jobs: int = 0
    """However they ended."""
    audio_ms: int = 0
    """Of complete jobs all, of others what was done."""
    work_ms: int = 0
    """For which attempts held a slot."""
    gpu_ms: int = 0
    """The same, of slots on a GPU."""
    bytes: int = 0
    """Of inputs."""

    @property
    def row(self) -> tuple[str | int, ...]:
        """Values for ADD."""
        return self.owner, self.day, self.jobs, self.audio_ms, self.work_ms, self.gpu_ms, self.bytes


def account_of(job: Job) -> Account:
    """What one job that has ended adds."""
    work_s, gpu_s = job.held_s
    return Account(
        job.owner,
        day_of(job.finished_at or 0.0),
        1,
        round(audio_s_of(job) * 1000),
        round(work_s * 1000),
        round(gpu_s * 1000),
        sum(item.size_bytes for item in job.inputs),
    )


def day_of(moment: float) -> str:
    """The day in UTC of seconds since the epoch."""
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%d")


def audio_s_of(job: Job) -> float:
    """Seconds of audio that were worked on: all of a complete job, what was done of another."""
    if job.status is JobStatus.COMPLETE:
        return sum(item.duration_s or 0.0 for item in job.inputs)
    return sum(file.done_s for file in job.progress.files)
