"""The queued and running jobs by id, and what is asked of all of them at once. Pure.

A scrape, a ping or an upload costs the same with 100,000 jobs as with ten: nothing here looks at every job.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, MutableMapping
from enum import Enum, auto

from btworker.jobs import Job, JobId, JobStatus


class LivePhase(Enum):
    """What a live job is doing."""

    WAITING = auto()
    """For its inputs or its turn."""
    WORKING = auto()
    DELIVERING = auto()


class LiveJobs(MutableMapping[JobId, Job]):
    """A mapping that keeps its sums; `moved` is called with what a job was, and what it is. `rendition_bytes` estimates
    the room of what players get by the bytes of a job's inputs."""

    def __init__(
        self,
        moved: Callable[[Job | None, Job], None] | None = None,
        rendition_bytes: Callable[[int], int] = lambda _: 0,
    ) -> None:
        self._moved = moved
        self._rendition_bytes = rendition_bytes
        self.rendition_bytes = 0
        """Room that the renditions of all of them are expected to take."""
        self._jobs: dict[JobId, Job] = {}
        self._phases: dict[LivePhase, set[JobId]] = {phase: set() for phase in LivePhase}
        self._sizes: list[int] = []
        self._totals: list[int] = []
        self._arrivals: list[float] = []

    def __getitem__(self, job_id: JobId) -> Job:
        return self._jobs[job_id]

    def __setitem__(self, job_id: JobId, job: Job) -> None:
        old = self._jobs.get(job_id)
        if old is None or _key(old) != _key(job):
            if old is not None:
                self._forget(old)
            self._count(job)
        self._jobs[job_id] = job
        if self._moved is not None:
            self._moved(old, job)

    def __delitem__(self, job_id: JobId) -> None:
        self._forget(self._jobs.pop(job_id))

    def __iter__(self) -> Iterator[JobId]:
        return iter(self._jobs)

    def __len__(self) -> int:
        return len(self._jobs)

    def count(self, phase: LivePhase) -> int:
        """How many jobs are in this phase."""
        return len(self._phases[phase])

    def working(self) -> list[Job]:
        """Jobs that a worker has."""
        return [self._jobs[job_id] for job_id in self._phases[LivePhase.WORKING]]

    def largest_bytes(self, number: int) -> list[int]:
        """The `number` largest `expected_sound_bytes`."""
        return self._sizes[-number:]

    def largest_jobs_bytes(self, number: int) -> list[int]:
        """Bytes of all inputs together of the `number` largest jobs."""
        return self._totals[-number:]

    def oldest_waiting_at(self) -> float | None:
        """When the waiting job that came first was accepted, in seconds since the epoch."""
        return self._arrivals[0] if self._arrivals else None

    def _count(self, job: Job) -> None:
        phase, size, total, arrival = _key(job)
        self._phases[phase].add(job.id)
        insort(self._sizes, size)
        insort(self._totals, total)
        self.rendition_bytes += self._rendition_bytes(total)
        if phase is LivePhase.WAITING:
            insort(self._arrivals, arrival)

    def _forget(self, job: Job) -> None:
        phase, size, total, arrival = _key(job)
        self._phases[phase].remove(job.id)
        del self._sizes[bisect_left(self._sizes, size)]
        del self._totals[bisect_left(self._totals, total)]
        self.rendition_bytes -= self._rendition_bytes(total)
        if phase is LivePhase.WAITING:
            del self._arrivals[bisect_left(self._arrivals, arrival)]


def _key(job: Job) -> tuple[LivePhase, int, int, float]:
    """All that the sums go by."""
    if job.status is JobStatus.QUEUED:
        phase = LivePhase.WAITING
    else:
        phase = LivePhase.DELIVERING if job.delivers else LivePhase.WORKING
    return phase, job.expected_sound_bytes, sum(item.size_bytes for item in job.inputs), job.created_at
