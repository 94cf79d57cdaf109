"""Which attempt may speak for a job: tickets for boxes, and the fence that every write of theirs passes. Front end.

A box that fetches the inputs of a job before it starts there has a lease of another kind, which lets it read alone; one
at a time for each job. It ends with the attempt, or when the job is to start elsewhere.

A box that helps with a recording of another one has a lease that ends with the attempt that it helps.

A lease begins when a task is sent to a box and ends with the attempt. A write takes place while the lease is held, and
no lease of the next attempt begins meanwhile: a result that comes late never lies between those of its successor.
Used by the event loop (grant, revoke) and by threads that write (holding).
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import JobId
from btworker.tickets import Tickets

TICKET_S = 900.0
"""Seconds that a ticket is good for. A box asks for its lease far more often, and gets a new ticket each time."""
OVER = "this attempt is over: another one has the job, or it has ended"
ATTEMPTS, PREFETCHES, HELPS = "attempts", "prefetches", "helps"
"""What a lease is for."""


@dataclass(slots=True)
class _Lease:
    """One attempt that is at work on a box."""

    attempt: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while one of its files is being put in its place."""
    over: bool = False


class Leases:
    """The attempts that boxes are at work on."""

    def __init__(self) -> None:
        self._tickets = Tickets(TICKET_S, time.monotonic)  # good for this run anyway; no step of the clock ends them
        self._leases: dict[JobId, _Lease] = {}
        self._mutex = threading.Lock()
        """Held while it is decided which lease a job has: writers forget theirs in threads."""
        self._prefetches: dict[JobId, int] = {}
        """The number of the prefetch of each job that has one."""
        self._helps: dict[int, tuple[JobId, int]] = {}
        """The job and the attempt that each help is for, by the help's number."""
        self._numbers = count(1)

    def grant(self, job_id: JobId, attempt: int) -> str | None:
        """Begin an attempt's lease, and return its ticket; None while a write of an earlier attempt is under way."""
        if not self._end(self._leases.get(job_id)):
            return None
        with self._mutex:
            self._leases[job_id] = _Lease(attempt)
        return self.ticket(job_id, attempt)

    def revoke(self, job_id: JobId, attempt: int) -> None:
        """End an attempt's lease; a write that is under way comes to its end."""
        lease = self._leases.get(job_id)
        if lease is not None and lease.attempt == attempt:
            self.end_prefetch(job_id)
            if self._end(lease):
                self._forget(job_id, lease)

    def begin_prefetch(self, job_id: JobId) -> tuple[int, str]:
        """Let a box read the inputs of a job, and no other one any more; the prefetch's number and ticket."""
        number = self._prefetches[job_id] = next(self._numbers)
        return number, self.ticket(job_id, number, PREFETCHES)

    def wants(self, job_id: JobId) -> bool:
        """Whether a box may read the job's files."""
        return job_id in self._leases or job_id in self._prefetches

    def end_prefetch(self, job_id: JobId) -> None:
        """End the lease of a prefetch."""
        self._prefetches.pop(job_id, None)

    def begin_help(self, job_id: JobId, attempt: int) -> tuple[int, str]:
        """Let one more box help with an attempt; the help's number and ticket."""
        number = next(self._numbers)
        self._helps[number] = job_id, attempt
        return number, self.ticket(job_id, number, HELPS)

    def is_open(self, job_id: JobId, attempt: int) -> bool:
        """Whether an attempt's box may still speak for the job."""
        return self._open(job_id, attempt) is not None

    def end_help(self, number: int) -> None:
        """End the lease of a help."""
        self._helps.pop(number, None)

    def attempt_of(self, number: int, kind: str) -> int:
        """The attempt that a lease of this kind is for; 0: none."""
        return number if kind == ATTEMPTS else self._helps.get(number, ("", 0))[1] if kind == HELPS else 0

    @staticmethod
    def _end(lease: _Lease | None) -> bool:
        """Let a lease be over; False where a write still holds it."""
        if lease is None:
            return True
        lease.over = True
        if not lease.lock.acquire(blocking=False):
            return False
        lease.lock.release()
        return True

    def ticket(self, job_id: JobId, number: int, kind: str = ATTEMPTS) -> str:
        """Make a ticket for an attempt, or a prefetch."""
        return self._tickets.issue(path_of(job_id, number, kind), "")[0]

    def check(self, job_id: JobId, number: int, ticket: str, kind: str = ATTEMPTS) -> None:
        """Let pass who has a ticket for an attempt, or a prefetch, that is not over. Raises UNAUTHORIZED, GONE."""
        if self._tickets.holder(ticket, path_of(job_id, number, kind)) is None:
            raise BtworkerError(ErrorCode.UNAUTHORIZED, "the ticket has expired, or is for another attempt")
        if kind == ATTEMPTS:
            self._current(job_id, number)
        elif kind == HELPS:
            if self._helps.get(number, ("", 0))[0] != job_id:
                raise BtworkerError(ErrorCode.GONE, "this help is over")
            self._current(job_id, self.attempt_of(number, kind))
        elif self._prefetches.get(job_id) != number:
            raise BtworkerError(ErrorCode.GONE, "this job starts on another box, or has started, or will not start")

    @contextmanager
    def holding(self, job_id: JobId, attempt: int) -> Iterator[None]:
        """Keep other attempts of the job from beginning while files are put in their place. Blocking; raises GONE."""
        lease = self._current(job_id, attempt)
        try:
            with lease.lock:
                if lease.over:
                    raise BtworkerError(ErrorCode.GONE, OVER)
                yield
        finally:
            self._forget(job_id, lease)

    def _forget(self, job_id: JobId, lease: _Lease) -> None:
        """Drop a lease that has ended, unless the job has the next one already."""
        with self._mutex:
            if lease.over and self._leases.get(job_id) is lease:
                del self._leases[job_id]

    def _current(self, job_id: JobId, attempt: int) -> _Lease:
        if (lease := self._open(job_id, attempt)) is None:
            raise BtworkerError(ErrorCode.GONE, OVER)
        return lease

    def _open(self, job_id: JobId, attempt: int) -> _Lease | None:
        """Find the lease of an attempt that is not over. One look, since another thread may end it meanwhile."""
        lease = self._leases.get(job_id)
        return lease if lease is not None and lease.attempt == attempt and not lease.over else None


def path_of(job_id: JobId, number: int, kind: str = ATTEMPTS) -> str:
    """Where the files of an attempt, or a prefetch, are on the fleet's listener."""
    return f"/fleet/v1/jobs/{job_id}/{kind}/{number}"
