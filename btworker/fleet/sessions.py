"""Sessions with boxes: each is asked to join, says what becomes of its jobs, and is lost. Front end's loop.

pool.py gives them what the gateway tells of boxes; what it means goes to the service as events, and to the box as
commands. What is not of a box's session, or of the attempt that it has, changes nothing. What an end means is decided
where it happens: that of a child on its box, that of a box here.
"""

import time
from collections.abc import Callable, Sequence
from itertools import count

from btworker.errors import ErrorCode
from btworker.fleet.cordon import Cordon
from btworker.fleet.leases import Leases
from btworker.fleet.prefetching import Prefetches
from btworker.fleet.records import (
    BoxCommand,
    BoxFound,
    BoxGone,
    BoxState,
    BoxWord,
    FromBox,
    JobNews,
    Join,
    Joined,
    NotTaken,
    Versions,
    WorkDone,
)
from btworker.fleet.remote_box import BoxPhase, RemoteBox
from btworker.jobs import JobId
from btworker.logs import get_logger
from btworker.messages import Blame, Cancel, JobEvent, WindowDone, WorkerLost
from btworker.pool import PoolEvent, RoomChanged

log = get_logger()


class Sessions:
    """See the module's docstring. `open_boxes` gives those that are to get jobs, `address` that of the fleet's listener
    as boxes reach it; `command` sends a command to a box, `emit` takes the events for the service."""

    def __init__(
        self,
        leases: Leases,
        prefetches: Prefetches,
        cordon: Cordon,
        versions: Versions,
        *,
        open_boxes: Callable[[], Sequence[RemoteBox]],
        address: Callable[[], str],
        command: Callable[[RemoteBox, BoxCommand], None],
        emit: Callable[[PoolEvent], None],
    ) -> None:
        self._leases = leases
        self._prefetches = prefetches
        self._cordon = cordon
        self._versions = versions
        self._open_boxes = open_boxes
        self._address = address
        self._command = command
        self._emit = emit
        self._numbers = count(time.time_ns())  # boxes may remember those of an earlier run

    def take(self, box: RemoteBox, event: BoxFound | BoxGone | FromBox) -> None:
        """Act on what the gateway tells of a box."""
        match event:
            case BoxFound():
                log.debug("box_found", box=box.name)
                box.spoke()
                self._join(box)
            case BoxGone(why=why, refused=refused):
                self.lose(box, why, refused=refused)
            case FromBox(word=word):
                self._on_word(box, word)

    def lose(self, box: RemoteBox, why: str, *, innocent: bool = False, refused: bool = False) -> None:
        """Give a box up, and its jobs with it; see RemoteBox.lose."""
        before, affected = box.phase, box.lose(why, innocent=innocent, refused=refused)
        if box.phase is not before:
            log.error("box_refused" if refused else "box_lost", box=box.name, message=f"the box {box.name} {why}")
        self._prefetches.lose(box)
        for lost in affected:
            self._leases.revoke(lost.job_id, lost.attempt)
            self._emit(lost)
        self._emit(RoomChanged())

    def _join(self, box: RemoteBox) -> None:
        """Begin a session; what the box had in another one is over."""
        if box.tasks:
            self.lose(box, "had to join again", innocent=True)
        self._prefetches.lose(box)
        box.begin_session(next(self._numbers))
        self._command(box, Join(box.session, self._address()))

    def _on_word(self, box: RemoteBox, word: BoxWord) -> None:
        is_unknown = box.phase in (BoxPhase.LOST, BoxPhase.JOINING) and not isinstance(word, Joined)
        if word.session != box.session or is_unknown:  # where its Joined was lost, it is asked once more
            if box.may_be_asked:
                self._join(box)
            return
        box.spoke()
        match word:
            case Joined():
                self._on_joined(box, word)
            case BoxState(workers=workers):
                box.show(workers)
                self._emit(RoomChanged())
            case JobNews(event=event):
                self._on_job_event(box, event)
            case WorkDone():
                box.note_work_done(word.job_id, word.attempt)
                self._emit(RoomChanged())
            case NotTaken():
                why = f"found no place on the box {box.name} any more"
                lost = WorkerLost(word.job_id, word.attempt, why, ErrorCode.WORKER_CRASHED, Blame.NONE)
                self._on_job_event(box, lost)

    def _on_joined(self, box: RemoteBox, word: Joined) -> None:
        if box.phase is BoxPhase.READY:
            self.lose(box, f"cannot reach the front end any more: {word.obstacle}", innocent=True)
        if box.joined(word, self._versions, self._address()):
            log.info("box_joined", box=box.name, workers=len(word.workers.states), problem=box.problem_sentence)
        self._emit(RoomChanged())

    def _on_job_event(self, box: RemoteBox, event: JobEvent) -> None:
        task = box.task(event.job_id)
        if task is None or task.attempt != event.attempt:
            return
        if ends := box.note(event):
            self._leases.revoke(event.job_id, event.attempt)
        self._emit(event)
        if ends:
            self._emit(RoomChanged())
        elif isinstance(event, WindowDone) and self._hands_over(box, event.job_id):
            self._command(box, Cancel(event.job_id, event.attempt))
            why = f"gave it up after a window, since the box {box.name} is drained"
            self._on_job_event(box, WorkerLost(event.job_id, event.attempt, why, blame=Blame.NONE))

    def _hands_over(self, box: RemoteBox, job_id: JobId) -> bool:
        """Whether a job that has done a window is to go on elsewhere: its box is drained, and another takes jobs."""
        others = (other for other in self._open_boxes() if other.phase is BoxPhase.READY)
        return box.name in self._cordon and box.is_at_work(job_id) and any(other.workers.accepting for other in others)
