"""What a waiting job waits for, and for how long: its place in the line, and when those before it will be done. Parent.

The line is played through: each slot is free when its job will have ended, and the next job takes the first one. What
nobody knows yet (no such job was ever finished here) stays unknown, for the jobs behind it as well.
"""

import heapq
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from btworker.jobs import Job, JobId, JobStatus, Stage
from btworker.pool import Pool, WorkerState
from btworker.service.awaited import awaited
from btworker.service.pace import Pace
from btworker.service.table import JobTable

GOOD_FOR_S = 1.0
"""Seconds that an answer is good for: every listing asks for many jobs of the line."""
SHORT = 50
"""Jobs up to which the line is also played through at once when it has changed."""
MOST_PLAYED = 2000
"""Jobs of the line that are played through, in a few milliseconds; of one behind them only its place is shown."""
LEAST_PERCENT = 1.0
"""Below this a running job has no pace of its own."""
SURE_PERCENT = 10.0
"""From here on a running job's own pace says more than those of others."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What lies before a job that waits or runs. Seconds are from now on; None: not known."""

    position: int | None = None
    """Jobs before it; None where it does not wait for its turn."""
    waiting_for: str = ""
    """What it waits for; empty where it does not wait."""
    starts_in_s: float | None = None
    ends_in_s: float | None = None


class Outlooks:
    """The outlook of each job. `clock` gives seconds since the epoch."""

    def __init__(self, table: JobTable, pool: Pool, clock: Callable[[], float]) -> None:
        self._table = table
        self._pool = pool
        self._clock = clock
        self._played_at = -math.inf
        self._changes = -1
        self._played: dict[JobId, tuple[float, float]] = {}

    def of(self, job: Job) -> Outlook:
        """The outlook of a job as of now."""
        position = self._table.waiting.position(job.id)
        if position is None:
            starts, ends = math.inf, self._left_s(job)
        else:
            starts, ends = self._times().get(job.id, (math.inf, math.inf))
        return Outlook(position, self._waiting_for(job, position), _known(starts), _known(ends))

    def waiting_for(self, job: Job) -> str:
        """What a job waits for; empty where it does not wait."""
        return self._waiting_for(job, self._table.waiting.position(job.id))

    def _waiting_for(self, job: Job, position: int | None) -> str:
        return awaited(job, self._pool.workers()) or _turn(job, position)

    def _left_s(self, job: Job) -> float:
        """Estimate what is left of a running job, by its own pace where there is no other; infinity for all others."""
        if job.status is not JobStatus.RUNNING:
            return math.inf
        worker = next((one for one in self._pool.workers() if job.id in one.job_ids), None)
        if worker is None:
            return math.inf
        now = self._clock()
        left = left_s(job, self._table.pace, now, worker)
        return own_pace_s(job, _past_s(job, now)) if math.isinf(left) else left

    def _times(self) -> dict[JobId, tuple[float, float]]:
        now, line = time.monotonic(), self._table.waiting
        is_same = line.changes == self._changes or len(line) > SHORT
        if not is_same or now - self._played_at >= GOOD_FOR_S:
            workers = [worker for worker in self._pool.workers() if worker.problem is None]
            devices = {worker.device.name or "" for worker in workers}
            jobs = (self._table.live[job_id] for job_id in islice(line, MOST_PLAYED))
            free_in_s = free_slots(workers, self._table.live, self._table.pace, self._clock())
            self._played_at, self._changes = now, line.changes
            self._played = play(jobs, free_in_s, lambda job: self._table.pace.work_s(job, devices))
        return self._played


def play(
    line: Iterable[Job], free_in_s: Sequence[float], work_s: Callable[[Job], float | None]
) -> dict[JobId, tuple[float, float]]:
    """When each job of the line starts and ends, in seconds from now; infinity where that is not known.

    `free_in_s` has an item for each slot.
    """
    slots = list(free_in_s)
    heapq.heapify(slots)
    times: dict[JobId, tuple[float, float]] = {}
    for job in line if slots else ():
        starts = slots[0]
        took = work_s(job)
        ends = math.inf if took is None else starts + took
        heapq.heapreplace(slots, ends)
        times[job.id] = starts, ends
    return times


def free_slots(workers: Sequence[WorkerState], live: Mapping[JobId, Job], pace: Pace, now: float) -> list[float]:
    """Seconds until each slot of the workers is free."""
    free: list[float] = []
    for worker in workers:
        busy = [left_s(live[job_id], pace, now, worker) for job_id in worker.job_ids if job_id in live]
        loads_in_s = math.inf if worker.loads_in_s is None else worker.loads_in_s
        free += busy + [loads_in_s] * max(worker.slots - len(busy), 0)
    return free


def left_s(job: Job, pace: Pace, now: float, worker: WorkerState) -> float:
    """Seconds of work that are left of a job that runs: by its own pace once it has one, before that by others', where
    it does not take longer than those did."""
    past_s = _past_s(job, now)
    own_s = own_pace_s(job, past_s)
    if job.progress.percent >= SURE_PERCENT:
        return own_s
    took = pace.work_s(job, {worker.device.name or ""})
    if took is None:
        return math.inf
    if past_s < took:
        return took - past_s
    return 0.0 if math.isinf(own_s) else own_s


def own_pace_s(job: Job, past_s: float) -> float:
    """Seconds that are left at the pace so far; infinity before there is a pace."""
    percent = job.progress.percent
    return math.inf if percent < LEAST_PERCENT else past_s * (100 - percent) / percent


def _past_s(job: Job, now: float) -> float:
    began_at = job.stage_started_at if job.started_at is None else job.started_at
    return max(now - (began_at or now), 0.0)


def _turn(job: Job, position: int | None) -> str:
    """What a job waits for that no model keeps back."""
    if job.status is JobStatus.QUEUED and job.stage is Stage.DOWNLOADING:
        return "its files, which are being fetched"
    if position is None:
        return ""
    before = f", {position} {'job' if position == 1 else 'jobs'} before it" if position else ""
    return f"a worker that is free{before}"


def _known(seconds: float) -> float | None:
    return None if math.isinf(seconds) else round(max(seconds, 0.0), 1)
