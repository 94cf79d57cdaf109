"""What a job is: its ids, states, options and the one table of transitions.

Pure records, used in all processes. store/ keeps them, service/ is the only writer of a job's state.
"""

import secrets
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, NewType

from btworker.errors import ErrorInfo
from btworker.locations import Delivery, Source
from btworker.renditions import Rendition

JobId = NewType("JobId", str)


def new_job_id() -> JobId:
    """A fresh id: "wk_" and 16 hex digits."""
    return JobId("wk_" + secrets.token_hex(8))


class JobStatus(str, Enum):
    """Where a job stands; the wire values."""

    QUEUED = "queued"
    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def finished(self) -> bool:
        """No transition leads out of this status."""
        return not TRANSITIONS[self]


TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.FAILED, JobStatus.CANCELED}),
    # back to queued only when a child was lost (or the service stopped) and attempts are left
    JobStatus.RUNNING: frozenset({JobStatus.QUEUED, JobStatus.COMPLETE, JobStatus.FAILED, JobStatus.CANCELED}),
    JobStatus.COMPLETE: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELED: frozenset(),
}


class Stage(str, Enum):
    """What is being done for a job right now."""

    QUEUED = "queued"
    DOWNLOADING = "downloading"
    INITIALIZING = "initializing"
    LOADING_MODEL = "loading_model"
    TRANSCRIBING = "transcribing"
    DIARIZING = "diarizing"
    UPLOADING = "uploading"
    COMPLETE = "complete"


class OutputFormat(str, Enum):
    """Files that a job can produce for each input."""

    JSON = "json"
    MD = "md"
    SRT = "srt"
    VTT = "vtt"
    TXT = "txt"
    TSV = "tsv"
    RTTM = "rttm"
    DOCX = "docx"


MAX_LOG_LINES = 20
DEFAULT_OUTPUTS = (OutputFormat.JSON, OutputFormat.MD)
ENROLL = "enroll"
"""Task of a job that makes a voice of its one input, and no transcript."""
EACH_WINDOW = "auto-each"
"""In place of a language: that of each window of up to 30 s, for recordings in several languages."""


@dataclass(frozen=True, slots=True)
class KnownSpeaker:
    """Somebody whose voice came with the job, as a recording or as a stored voice."""

    name: str
    sha256: str = ""
    """Of what came; empty until it is there."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a client asked for, after validation; defaults as documented in docs/api.md."""

    model: str
    language: str = ""
    """"" = detect; EACH_WINDOW = detect in each window."""
    languages: tuple[str, ...] = ()
    """Those that a language is detected among; none: all that the model knows."""
    task: str = "transcribe"
    """transcribe, translate, or ENROLL."""
    prompt: str = ""
    keywords: tuple[str, ...] = ()
    """Names and terms that are likely."""
    keyword_bonus: float = 0.0
    """What each token of a keyword gains, in the unit of log-probabilities."""
    keyword_prompt_tokens: int = 0
    """Most tokens of the prompt that keywords take."""
    temperature: float | None = None
    """None = 0.0 with fallback to 0.2 … 1.0, as openai-whisper does."""
    beam_size: int | None = None
    """None = greedy."""
    decode: str = "fast"
    token_logprobs: bool = False
    word_timestamps: bool = True
    vad_enabled: bool = False
    hallucination_detection: bool = True
    hallucination_sensitivity: int = 50
    no_speech_threshold: float = 0.6
    diarization_enabled: bool = False
    num_speakers: int | None = None
    min_speakers: int | None = None
    max_speakers: int | None = None
    known_speakers: tuple[KnownSpeaker, ...] = ()
    """Their voices lie in the job's folder, in this order."""
    channels: str = "mix"
    """"separate": each channel is transcribed by itself."""
    ranges: tuple[tuple[float, float | None], ...] = ()
    """(start, end) in seconds of what is transcribed, in order and disjoint; no end: to the recording's. Empty: all."""
    outputs: tuple[OutputFormat, ...] = DEFAULT_OUTPUTS
    priority: int = 5
    """0-9, higher runs first."""

    @property
    def expected_channels(self) -> int:
        """Channels of sound to expect of an input before it is decoded: most with several have two."""
        return 2 if self.channels == "separate" else 1


@dataclass(frozen=True, slots=True)
class Input:
    """One media file of a job. `stem` names its outputs and is unique within the job."""

    input_id: str
    filename: str
    """The client's name: data, never a path."""
    stem: str
    size_bytes: int
    sha256: str
    duration_s: float | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """One produced file; it lies at <job folder>/out/<filename>."""

    input_id: str
    filename: str
    type: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class FileProgress:
    """How far one input is. Seconds are seconds of audio."""

    stage: Stage = Stage.INITIALIZING
    done_s: float = 0.0
    total_s: float = 0.0
    windows: int = 0
    over: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is; the file and the seconds are those of the first input that is not done. Seconds are seconds of
    audio."""

    percent: float = 0.0
    file_index: int = 0
    total_files: int = 0
    current_file: str | None = None
    chunk_index: int = 0
    total_chunks: int = 0
    audio_s_done: float = 0.0
    audio_s_total: float = 0.0
    files: tuple[FileProgress, ...] = ()
    """Of each input, while the job runs."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of a job's own log, shown in GET /v1/jobs/{id}. `at` is seconds since the epoch."""

    at: float
    level: str
    message: str


@dataclass(frozen=True, slots=True)
class Job:
    """A job as everyone but the store sees it. Times are seconds since the epoch."""

    id: JobId
    options: Options
    inputs: tuple[Input, ...]
    created_at: float
    status: JobStatus = JobStatus.QUEUED
    stage: Stage = Stage.QUEUED
    stage_started_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    attempt: int = 0
    progress: Progress = field(default_factory=Progress)
    outputs: tuple[Output, ...] = ()
    renditions: tuple[Rendition, ...] = ()
    logs: tuple[LogLine, ...] = ()
    warnings: tuple[str, ...] = ()
    timings: tuple[tuple[str, float], ...] = ()
    gpu: str | None = None
    error: ErrorInfo | None = None
    controller_job_id: str | None = None
    idempotency_key: str | None = None
    request_id: str | None = None
    owner: str = ""
    """Id of the key that submitted it; empty: the operator."""
    trace: str = ""
    """The W3C traceparent of the request that it came with; empty where that was not traced."""
    sources: tuple[Source, ...] = ()
    """Where the inputs lie, until all of them are fetched. Never shown: URLs are signed."""
    delivery: Delivery | None = None
    expected_audio_s: float = 0.0
    """Seconds of audio that it is likely to be, from when it waits for its turn."""
    held_s: tuple[float, float] = (0.0, 0.0)
    """Seconds for which its attempts that are over held a slot, and those on a GPU."""
    alone: bool = False
    """It was in a child that died, and runs without others in its child from now on."""
    arrival: int = field(default=0, compare=False)
    """Its number in the job table, which counts on: what came before it, whatever the clock said then; 0 before."""

    @property
    def expected_sound_bytes(self) -> int:
        """Size of the largest input, once for each channel that is decoded by itself."""
        return max((item.size_bytes for item in self.inputs), default=0) * self.options.expected_channels

    @property
    def delivers(self) -> bool:
        """Its work is done, and its outputs are on their way: it holds no slot."""
        return self.status is JobStatus.RUNNING and self.stage is Stage.UPLOADING

    @property
    def required_delivery(self) -> Delivery:
        """Delivery of the job, for those who deliver: they are not called for a job without one."""
        assert self.delivery is not None  # noqa: S101 - see above
        return self.delivery

    @property
    def owes_callback(self) -> bool:
        """It has ended, and its callback is still to be sent."""
        delivery = self.delivery
        owes = delivery is not None and delivery.callback_url is not None and not delivery.over
        return self.status.finished and owes

    def evolve(self, **changes: Any) -> "Job":
        """A copy with the changes; a status that the transition table does not allow is a bug and raises."""
        status = changes.get("status", self.status)
        if status != self.status and status not in TRANSITIONS[self.status]:
            raise ValueError(f"job {self.id}: no transition {self.status.value} -> {status.value}")
        return replace(self, **changes)

    def with_log(self, at: float, level: str, message: str) -> "Job":
        """A copy with one more log line; only the last 20 are kept."""
        return replace(self, logs=(*self.logs, LogLine(at, level, message))[-MAX_LOG_LINES:])

    def with_warnings(self, *warnings: str) -> "Job":
        """A copy with the warnings that it did not have yet, in order."""
        return replace(self, warnings=tuple(dict.fromkeys((*self.warnings, *warnings))))
