"""Which box helps with which long recording of another one: a box that has a child without a job. Front end's loop.

As on one machine (pool/helping.py), the oldest recording first, and only where its model is loaded; what parts it gets
is sharing.py's. A help ends by itself, with the attempt that it is for, or with its box. The job's log names each box.
"""

from collections.abc import Callable, Sequence

from btworker.fleet.leases import Leases
from btworker.fleet.records import BoxCommand, HelpOnBox
from btworker.fleet.remote_box import BoxPhase, RemoteBox
from btworker.fleet.sharing import Key, Sharing
from btworker.logs import get_logger
from btworker.messages import HelpTask
from btworker.pool import HelpBegun, Phase
from btworker.stems import numbered

log = get_logger()


class Helpers:
    """All helps that go on. `command` sends a command to a box, `emit` takes the events for the service."""

    def __init__(
        self,
        leases: Leases,
        sharing: Sharing,
        *,
        command: Callable[[RemoteBox, BoxCommand], None],
        emit: Callable[[HelpBegun], None],
    ) -> None:
        self._leases = leases
        self._sharing = sharing
        self._command = command
        self._emit = emit

    def match(self, boxes: Sequence[RemoteBox]) -> None:
        """Send those of these boxes to help that have nothing to do. End helps for attempts that are over, and those of
        other boxes, or of an earlier session."""
        ready = [box for box in boxes if box.phase is BoxPhase.READY]
        for key in self._sharing.keys:
            if not self._leases.is_open(*key[:2]):
                self._sharing.drop(key)
        sessions = {box.session for box in ready}
        for number in self._sharing.helps_outside(sessions):
            self._leases.end_help(number)
            self._sharing.end_help(number)
        for box in ready:
            if not box.workers.offers and not self._sharing.has_help(box.session):
                self._send(box, ready)

    def _send(self, box: RemoteBox, boxes: Sequence[RemoteBox]) -> None:
        for owner in boxes:
            for task in owner.workers.offers if owner is not box else ():
                if (key := self._key(task, owner)) is not None and _may_help(box, task):
                    share = self._sharing.find(key)
                    if share is not None and share.wants_help_of(box.name):
                        self._begin(box, task, key)
                        if box.name not in share.helpers:
                            share.helpers.add(box.name)
                            self._emit(HelpBegun(*key[:2], box.name))
                        return

    @staticmethod
    def _key(task: HelpTask, owner: RemoteBox) -> Key | None:
        run = owner.task(task.job_id)
        return None if run is None else (task.job_id, run.attempt, numbered(task.file_index, task.take))

    def _begin(self, box: RemoteBox, task: HelpTask, key: Key) -> None:
        job_id, attempt, _ = key
        number, ticket = self._leases.begin_help(job_id, attempt)
        self._sharing.begin_help(key, number, box.name, box.session)
        log.info("help_begins", box=box.name, workerJobId=job_id, attempt=attempt, fileIndex=task.file_index)
        self._command(box, HelpOnBox(box.session, task, number, ticket))


def _may_help(box: RemoteBox, task: HelpTask) -> bool:
    """Whether a child of it has the recording's model and no job."""
    return any(
        state.phase is Phase.IDLE and state.model == task.options.model and not box.tasks[state.index]
        for state in box.workers.states
    )
