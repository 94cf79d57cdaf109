"""What crosses between the front end, the gateway and the boxes: frozen records, like those of messages.py.

    front end --(at spawn)----> GatewaySpec
    front end --(task queue)--> ToBox(box, Join | RunOnBox | Cancel | LoadModels | Prefetch | DropPrefetch | HelpOnBox)
                                | messages.Stop
    gateway   --(event queue)-> Connected | BoxFound | BoxGone
                                | FromBox(box, Joined | BoxState | JobNews | NotTaken | WorkDone)

A session begins with Join, whose number each word of the box in it repeats: words of earlier sessions are dropped.
"""

from dataclasses import dataclass

from btworker.jobs import Input, JobId
from btworker.messages import Cancel, HelpTask, JobEvent, RunTask
from btworker.pool import WorkerState
from btworker.specs import LogSettings


@dataclass(frozen=True, slots=True)
class GatewaySpec:
    """All that a gateway gets at its start."""

    index: int
    cluster: str
    """Import string of what knows the boxes: "package.module:factory"."""
    address: str
    """Of the cluster."""
    logs: LogSettings


@dataclass(frozen=True, slots=True)
class Versions:
    """What front end and box must have in common, since records cross between them and texts must not depend on the
    box: releases, and the model that children load first."""

    btworker: str
    python: str
    whisper: str
    torch: str
    ray: str
    model: str


@dataclass(frozen=True, slots=True)
class Join:
    """Give up whatever another session left, and answer with Joined."""

    session: int
    address: str
    """Of the front end's listener for the fleet, as a URL."""


@dataclass(frozen=True, slots=True)
class RunOnBox:
    """One attempt, for the worker with this index on the box."""

    session: int
    worker: int
    task: RunTask
    ticket: str


@dataclass(frozen=True, slots=True)
class LoadModels:
    """So many jobs wait: start children again that ended for want of jobs."""

    jobs: int


@dataclass(frozen=True, slots=True)
class Prefetch:
    """Fetch the inputs of a job that waits, beside what is at work: it is likely to start on this box."""

    session: int
    job_id: JobId
    number: int
    """Of this prefetch, among those of the run: its files are at path_of(job_id, number, PREFETCHES)."""
    inputs: tuple[Input, ...]
    ticket: str


@dataclass(frozen=True, slots=True)
class DropPrefetch:
    """The job does not start here: its inputs go."""

    job_id: JobId


@dataclass(frozen=True, slots=True)
class HelpOnBox:
    """Decode parts of a recording that another box transcribes, until a job of its own comes."""

    session: int
    task: HelpTask
    number: int
    """Of this help, among those of the run: its files are at path_of(job_id, number, HELPS)."""
    ticket: str


BoxCommand = Join | RunOnBox | Cancel | LoadModels | Prefetch | DropPrefetch | HelpOnBox


@dataclass(frozen=True, slots=True)
class ToBox:
    """A command for the box of this name."""

    box: str
    command: BoxCommand


@dataclass(frozen=True, slots=True)
class BoxWorkers:
    """The workers of a box, and the indices of those that take jobs."""

    states: tuple[WorkerState, ...] = ()
    accepting: frozenset[int] = frozenset()
    offers: tuple[HelpTask, ...] = ()
    """Long recordings of its own jobs with which other boxes may help."""


@dataclass(frozen=True, slots=True)
class Joined:
    """The first word of a session: nothing is at work on the box. Said again, with an obstacle, where the way to the
    front end's listener was shut since: whatever is at work is of no use."""

    session: int
    versions: Versions
    workers: BoxWorkers
    obstacle: str = ""
    """What keeps the box from the front end's listener, so that it could fetch no job."""


@dataclass(frozen=True, slots=True)
class BoxState:
    """A sign of life, every few seconds and at each change."""

    session: int
    workers: BoxWorkers


@dataclass(frozen=True, slots=True)
class JobNews:
    """An event of a job, whose files are with the front end already."""

    session: int
    event: JobEvent


@dataclass(frozen=True, slots=True)
class NotTaken:
    """The worker that was meant for a task could not take it any more; nothing was begun."""

    session: int
    job_id: JobId
    attempt: int


@dataclass(frozen=True, slots=True)
class WorkDone:
    """A child is done with an attempt, whose files are on their way: its slot is free for the next job."""

    session: int
    job_id: JobId
    attempt: int


@dataclass(frozen=True, slots=True)
class NotStarted:
    """The process of a box ends at its start; told to the gateway alone."""

    why: str
    """A sentence for the operator, on one line."""


BoxWord = Joined | BoxState | JobNews | NotTaken | WorkDone


@dataclass(frozen=True, slots=True)
class Connected:
    """The gateway is in the cluster; `address` is that of this machine, as boxes know it."""

    address: str


@dataclass(frozen=True, slots=True)
class NotConnected:
    """It is not, and tries again."""

    why: str


@dataclass(frozen=True, slots=True)
class BoxFound:
    """A box can be spoken to."""

    box: str


@dataclass(frozen=True, slots=True)
class BoxGone:
    """It cannot any more."""

    box: str
    why: str
    """Follows a subject."""
    refused: bool = False
    """It is there, but no record can cross: it has another release."""


@dataclass(frozen=True, slots=True)
class FromBox:
    """A word of a box."""

    box: str
    word: BoxWord


GatewayEvent = Connected | NotConnected | BoxFound | BoxGone | FromBox
