"""The waiting jobs, in the order in which they start: higher priority first, then the older one. Pure."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import count

from btworker.jobs import Job, JobId

Place = tuple[int, float, int, JobId]


class WaitingJobs:
    """A sorted queue: the next one is the first that a worker can take, and any can be taken out."""

    def __init__(self) -> None:
        self._order: list[Place] = []
        self._places: dict[JobId, Place] = {}
        self._arrivals = count()
        self.changes = 0
        """How often a job came or went."""

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[JobId]:
        return (place[-1] for place in self._order)

    def add(self, job: Job) -> None:
        """Queue a job by its priority and its age: a job that comes back keeps its place before younger ones."""
        place = (-job.options.priority, job.created_at, next(self._arrivals), job.id)
        self.discard(job.id)
        self.changes += 1
        self._places[job.id] = place
        insort(self._order, place)

    def discard(self, job_id: JobId) -> bool:
        """Take this job out; False when it was not waiting."""
        place = self._places.pop(job_id, None)
        if place is None:
            return False
        self.changes += 1
        del self._order[bisect_left(self._order, place)]
        return True

    def position(self, job_id: JobId) -> int | None:
        """How many jobs are before this one; None when it is not waiting."""
        place = self._places.get(job_id)
        return None if place is None else bisect_left(self._order, place)
