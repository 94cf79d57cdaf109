"""Which box fetches the inputs of which job while that still waits, so that no child waits for the line between two
jobs. Front end's loop; box_prefetch.py is the other side.

It is done for the jobs that are next, one for each slot. Such a job starts on the box that has its inputs: others may
start before it meanwhile, at most as many as there are slots. Where no other job can start, it starts wherever it can.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from btworker.fleet.leases import Leases
from btworker.fleet.records import BoxCommand, DropPrefetch, Prefetch
from btworker.fleet.remote_box import BoxPhase, RemoteBox
from btworker.jobs import Job, JobId
from btworker.pool.placing import Vacancy


@dataclass(slots=True)
class _Prefetch:
    """That of one job."""

    box: RemoteBox
    overtaken: int = 0
    """Jobs that were behind it and started."""


class Prefetches:
    """All that are under way or done. `command` sends a command to a box."""

    def __init__(self, leases: Leases, command: Callable[[RemoteBox, BoxCommand], None]) -> None:
        self._leases = leases
        self._command = command
        self._of: dict[JobId, _Prefetch] = {}
        self._most_overtaken = 0

    def starts_in(self, job_id: JobId, vacancy: Vacancy) -> bool:
        """Whether the job is to start in this worker; see pool/placing.py."""
        found = self._of.get(job_id)
        return found is None or found.box.has(vacancy.worker) or found.overtaken >= self._most_overtaken

    def note_pick(self, job_id: JobId, first: Sequence[Job]) -> None:
        """A job starts before others, which are those before it in the line."""
        for job in takewhile(lambda job: job.id != job_id, first):
            if (found := self._of.get(job.id)) is not None:
                found.overtaken += 1

    def note_start(self, job_id: JobId, box: RemoteBox) -> None:
        """The job was given to a box: which goes on with what it has, while another one clears it away."""
        found = self._of.get(job_id)
        if found is not None and found.box is not box:
            self._drop(job_id)
        self._of.pop(job_id, None)

    def plan(self, jobs: Sequence[Job], boxes: Sequence[RemoteBox]) -> None:
        """Have boxes fetch the inputs of these jobs, which are next and cannot start yet, and of no others."""
        room = {box.name: box.prefetch_slots for box in boxes if box.phase is BoxPhase.READY}
        self._most_overtaken = sum(room.values())
        wanted = {job.id for job in jobs}
        for job_id, found in list(self._of.items()):
            if job_id not in wanted or found.box.name not in room:
                self._drop(job_id)
            else:
                room[found.box.name] -= 1
        for job in jobs:
            if job.id not in self._of and (box := _emptiest(job, boxes, room)) is not None:
                room[box.name] -= 1
                self._begin(job, box)

    def lose(self, box: RemoteBox) -> None:
        """Forget what a box has that is lost, or is asked to join."""
        for job_id in [job_id for job_id, found in self._of.items() if found.box is box]:
            del self._of[job_id]
            self._leases.end_prefetch(job_id)

    def _begin(self, job: Job, box: RemoteBox) -> None:
        self._of[job.id] = _Prefetch(box)
        number, ticket = self._leases.begin_prefetch(job.id)
        self._command(box, Prefetch(box.session, job.id, number, job.inputs, ticket))

    def _drop(self, job_id: JobId) -> None:
        self._leases.end_prefetch(job_id)
        self._command(self._of.pop(job_id).box, DropPrefetch(job_id))


def _emptiest(job: Job, boxes: Sequence[RemoteBox], room: dict[str, int]) -> RemoteBox | None:
    """The box with room for the inputs of a job, where its model is rather than elsewhere; None: there is none."""
    fitting = [box for box in boxes if room.get(box.name, 0) > 0]
    return min(fitting, key=lambda box: (not box.has_loaded(job.options.model), -room[box.name]), default=None)
