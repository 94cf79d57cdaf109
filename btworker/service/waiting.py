"""The waiting jobs, in the order in which they start: higher priority first, then the older one. Pure."""

import heapq
from itertools import count

from btworker.jobs import Job, JobId


class WaitingJobs:
    """A priority queue from which jobs can be taken out anywhere (lazy deletion)."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, float, int, JobId]] = []
        self._places: dict[JobId, tuple[int, float, int, JobId]] = {}
        self._arrivals = count()

    def __len__(self) -> int:
        return len(self._places)

    def add(self, job: Job) -> None:
        """Queue a job by its priority and its age: a job that comes back keeps its place before younger ones."""
        place = (-job.options.priority, job.created_at, next(self._arrivals), job.id)
        self._places[job.id] = place
        heapq.heappush(self._heap, place)

    def pop(self) -> JobId | None:
        """Take the job that is next, or None."""
        while self._heap:
            place = heapq.heappop(self._heap)
            if self._places.get(place[3]) == place:
                del self._places[place[3]]
                return place[3]
        return None

    def discard(self, job_id: JobId) -> bool:
        """Take this job out; False when it was not waiting."""
        return self._places.pop(job_id, None) is not None

    def position(self, job_id: JobId) -> int | None:
        """How many jobs start before this one; None when it is not waiting."""
        own = self._places.get(job_id)
        return None if own is None else sum(place < own for place in self._places.values())
