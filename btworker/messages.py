"""The only types that cross a process boundary: frozen, slotted, and made of str, int, float, bool, None, tuple,
Enum, Path or another message. Paths cross; payloads stay on disk.

    parent --(at spawn)------> WorkerSpec
    parent --(task queue)----> RunTask | Stop
    parent --(control pipe)--> Cancel          (its EOF means that the parent died)
    child  --(event queue)---> Ready | Unready | Started | Progressed | WindowDone | FileDone | Alive | Warned
                               | Finished | Failed
    the parent itself infers   WorkerLost
"""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from btworker.errors import ErrorCode, ErrorInfo
from btworker.jobs import Input, JobId, Options, Output, Stage


@dataclass(frozen=True, slots=True)
class Device:
    """Where a child computes. `uuid` is NVIDIA's name of the GPU, None on the CPU."""

    kind: str
    """"cuda" or "cpu"."""
    uuid: str | None = None
    name: str | None = None
    index: int | None = None
    """NVML's index (PCI bus order), for labels."""

    @property
    def label(self) -> str:
        """The value of the `gpu` label in metrics: its index, its UUID (MIG), "cpu", or "cuda" where none is there."""
        return self.uuid or self.kind if self.index is None else str(self.index)


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What the engine needs to know of the service's settings."""

    default_model: str
    models: tuple[tuple[str, Path | None], ...]
    """Names that a job may ask for; a path serves an operator's own checkpoint, None an official one from the cache."""
    model_cache: Path
    scratch: Path
    """Folder for decoded audio."""
    offline: bool = False
    max_audio_s: float = 12 * 3600.0
    decode_stall_s: float = 120.0
    """Seconds without a sample from ffmpeg after which it is given up."""
    ffmpeg_processes: int = 1
    """ffmpegs of the child at once."""
    threads: int = 0
    """CPU threads of the child; 0 = torch's own choice."""
    batch_size: int = 0
    """Windows decoded at once; 0 = as many as there is memory for."""
    diarization_device: str = "auto"
    diarization_pipeline: Path | None = None
    """The operator's folder with a pyannote pipeline; None stands for the pretrained one."""
    diarization_block_s: float = 3600.0
    """A longer recording is diarized in blocks of this length."""
    diarization_overlap_s: float = 60.0
    hf_token: str | None = None

    def __repr__(self) -> str:
        return f"EngineSettings(default_model={self.default_model!r}, …)"  # hf_token must never reach a log


@dataclass(frozen=True, slots=True)
class LogSettings:
    """How a child logs: the same as its parent."""

    level: str
    json: bool


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """Everything a child is told at spawn. `engine` is an import string: "package.module:factory"."""

    index: int
    device: Device
    engine: str
    settings: EngineSettings
    logs: LogSettings
    slots: int = 1
    """Jobs that the child has at once."""


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


@dataclass(frozen=True, slots=True)
class Stop:
    """Finish nothing more and exit."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop this job at the next safe point."""

    job_id: JobId
    reason: str


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What only a child can know, for ping and preflight. Pairs, since dicts do not cross."""

    versions: tuple[tuple[str, str], ...] = ()
    checks: tuple[tuple[str, bool], ...] = ()
    """numpy, torch, torch_cuda, whisper, diarization, model."""
    errors: tuple[tuple[str, str], ...] = ()
    """Sentences for the checks that failed."""
    cuda: bool = False
    gpu_name: str | None = None
    diarization: bool = False
    diarization_error: str | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """The child has loaded its model and takes jobs."""

    pid: int
    model: str
    info: EngineInfo
    load_s: float


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
    """One more window is in <folder>/windows/<file_index>.jsonl; `index` counts its lines from 0."""

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
class Alive:
    """The job is at work, and has nothing else to say."""

    job_id: JobId
    attempt: int


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


JobEvent = Started | Progressed | WindowDone | FileDone | Alive | ModelLoaded | Warned | Finished | Failed | WorkerLost
"""What service.on_event takes."""
ChildEvent = Ready | Unready | JobEvent
"""What a child may put on its event queue (all but WorkerLost)."""
ChildCommand = RunTask | Stop
