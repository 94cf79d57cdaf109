"""The only types that cross a process boundary: frozen, slotted, and made of str, int, float, bool, None, tuple,
Enum, Path or another message. Paths cross; payloads stay on disk.

    parent --(at spawn)------> WorkerSpec      (specs.py)
    parent --(task queue)----> RunTask | HelpTask | Stop
    parent --(control pipe)--> Cancel          (its EOF means that the parent died)
    child  --(event queue)---> Loading | Ready | Unready | Started | Progressed | WindowDone | Rendered | FileDone
                               | Alive | Warned | ShareOffered | Helping | Helped | Finished | Failed
    the parent itself infers   WorkerLost
"""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from btworker.errors import ErrorCode, ErrorInfo
from btworker.jobs import Input, JobId, Options, Output, Stage
from btworker.renditions import Rendition


@dataclass(frozen=True, slots=True)
class RunTask:
    """One attempt at one job. Inputs lie at <folder>/in/<n>, in order; outputs go to <folder>/out."""

    job_id: JobId
    attempt: int
    folder: Path
    inputs: tuple[Input, ...]
    options: Options
    losses: int = 0
    """Children that died with this job alone in them."""
    alone: bool = False
    """No other job may be in its child meanwhile."""
    is_clip: bool = False
    """So short that it may have a place of its own, beside the slots."""


@dataclass(frozen=True, slots=True)
class HelpTask:
    """Windows of another child's recording, until a task of its own comes; see engine/asr/spread/shares.py."""

    job_id: JobId
    folder: Path
    file_index: int
    source: Input
    options: Options
    take: int = 0
    """Number of the take of the input, see engine/job/takes.py; 0: all of it."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Finish nothing more and exit."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop this attempt at a job at the next safe point; another one of the same job is none of it."""

    job_id: JobId
    attempt: int


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What only a child can know, for ping and preflight. Pairs, since dicts do not cross."""

    versions: tuple[tuple[str, str], ...] = ()
    checks: tuple[tuple[str, bool], ...] = ()
    """numpy, torch, torch_cuda, whisper, ffmpeg, diarization, model."""
    errors: tuple[tuple[str, str], ...] = ()
    """Sentences for the checks that failed."""
    cuda: bool = False
    gpu_name: str | None = None
    diarization: bool = False
    diarization_error: str | None = None


@dataclass(frozen=True, slots=True)
class Loading:
    """The child is at work for a model, at its start or for a job: what it does, for those who wait."""

    doing: str
    """Like "downloading the model small"."""
    done_bytes: int = 0
    total_bytes: int = 0
    """0: not known."""

    @property
    def sentence(self) -> str:
        """What is done, and how far it is."""
        if not self.total_bytes:
            return self.doing
        unit, name = (2**30, "GB") if self.total_bytes >= 1000 * 2**20 else (2**20, "MB")
        digits = 1 if name == "GB" else 0
        return f"{self.doing} ({self.done_bytes / unit:.{digits}f} of {self.total_bytes / unit:.{digits}f} {name})"


@dataclass(frozen=True, slots=True)
class Ready:
    """The child has loaded its model and takes jobs."""

    pid: int
    model: str
    info: EngineInfo
    load_s: float


@dataclass(frozen=True, slots=True)
class InfoChanged:
    """What the child said of itself when it was ready is no longer so: its speakers cannot be loaded, say."""

    info: EngineInfo


@dataclass(frozen=True, slots=True)
class Unready:
    """The child cannot work and says why; it exits after this."""

    pid: int
    error: ErrorInfo
    info: EngineInfo


@dataclass(frozen=True, slots=True)
class Started:
    """The child took the task."""

    job_id: JobId
    attempt: int


@dataclass(frozen=True, slots=True)
class Progressed:
    """Where the job is. Seconds are seconds of audio of the current file."""

    job_id: JobId
    attempt: int
    stage: Stage
    file_index: int
    seconds_done: float
    seconds_total: float


@dataclass(frozen=True, slots=True)
class WindowDone:
    """One more window of the input is done, and its text in <folder>/windows/<file_index>.jsonl, or about to be where
    several takes are merged there; `index` counts windows from 0."""

    job_id: JobId
    attempt: int
    file_index: int
    index: int
    seconds_done: float
    seconds_total: float


@dataclass(frozen=True, slots=True)
class FileDone:
    """All of this input is there but for its files, which come with those of the others."""

    job_id: JobId
    attempt: int
    file_index: int


@dataclass(frozen=True, slots=True)
class Rendered:
    """What players get of an input is in its place, durable."""

    job_id: JobId
    attempt: int
    rendition: Rendition


@dataclass(frozen=True, slots=True)
class Alive:
    """The job is at work, and has nothing else to say."""

    job_id: JobId
    attempt: int


@dataclass(frozen=True, slots=True)
class ShareOffered:
    """Children that have nothing to do may help with this input until it is done."""

    job_id: JobId
    attempt: int
    file_index: int
    take: int = 0
    """See HelpTask."""


@dataclass(frozen=True, slots=True)
class Helping:
    """The child is at work for another one's job."""


@dataclass(frozen=True, slots=True)
class Helped:
    """It is not any more. `fatal` is that of Failed."""

    job_id: JobId
    file_index: int
    take: int = 0
    through: bool = False
    """Nothing is left of it."""
    error: ErrorInfo | None = None
    fatal: bool = False


@dataclass(frozen=True, slots=True)
class ModelLoaded:
    """The child swapped its model for the one that the job asked for."""

    job_id: JobId
    attempt: int
    model: str
    load_s: float


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that the user should know, which does not fail the job."""

    job_id: JobId
    attempt: int
    message: str


@dataclass(frozen=True, slots=True)
class Finished:
    """All outputs are in <folder>/out and durable."""

    job_id: JobId
    attempt: int
    outputs: tuple[Output, ...]
    durations_s: tuple[float, ...]
    """Seconds of audio of each input."""
    timings: tuple[tuple[str, float], ...]
    """Seconds of wall time by stage."""
    fatal: bool = False
    """The job is well, but its child needs a successor: its CUDA context broke once the words were there."""


@dataclass(frozen=True, slots=True)
class Failed:
    """This attempt failed in a way that the child survived; `fatal` asks for a new child (a broken CUDA context)."""

    job_id: JobId
    attempt: int
    error: ErrorInfo
    fatal: bool = False


class Blame(str, Enum):
    """Whether a job may have been the death of its child, as far as the parent can tell."""

    OWN = "own"
    """It was alone in it."""
    SHARED = "shared"
    """It was one of several, and any of them may have been the cause."""
    NONE = "none"
    """The child was killed for another job that did not stop."""


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """Inferred by the parent: the child died with this job in it, or hung and was killed (`code` is then TIMEOUT)."""

    job_id: JobId
    attempt: int
    message: str
    code: ErrorCode = ErrorCode.WORKER_CRASHED
    blame: Blame = Blame.OWN


JobEvent = (
    Started
    | Progressed
    | WindowDone
    | Rendered
    | FileDone
    | Alive
    | ShareOffered
    | ModelLoaded
    | Warned
    | Finished
    | Failed
    | WorkerLost
)
"""What service.on_event takes."""
ChildEvent = Loading | Ready | InfoChanged | Unready | Helping | Helped | JobEvent
"""What a child may put on its event queue (all but WorkerLost)."""
ChildCommand = RunTask | HelpTask | Stop
