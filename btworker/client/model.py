"""What the server reports of a job, as frozen records; fields that this version does not know are in `raw`.

Read leniently, so that a client works with a newer server: only what the client itself needs is required.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from btworker.client.errors import BAD_ANSWER, ClientError
from btworker.jobs import JobStatus

Wire = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is. Seconds are seconds of audio."""

    percent: float
    file_index: int
    total_files: int
    current_file: str | None
    audio_s_done: float
    audio_s_total: float


@dataclass(frozen=True, slots=True)
class Input:
    """One uploaded file."""

    input_id: str
    filename: str
    size_bytes: int
    sha256: str
    duration_s: float | None


@dataclass(frozen=True, slots=True)
class Output:
    """One result, to be fetched with Client.download."""

    input_id: str
    filename: str
    type: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of the job's own log."""

    at: str
    level: str
    message: str


@dataclass(frozen=True, slots=True)
class Job:
    """A job at the moment of the answer."""

    id: str
    status: JobStatus
    stage: str
    attempt: int
    owner: str
    """Name of the key that submitted it."""
    created_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    queue_position: int | None
    waiting_for: str
    """What keeps it from its start; empty where nothing does."""
    starts_in_s: float | None
    """Seconds that it is likely to wait; None where the worker cannot say."""
    eta_s: float | None
    progress: Progress
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    warnings: tuple[str, ...]
    logs: tuple[LogLine, ...]
    timings_s: Mapping[str, float]
    gpu: str | None
    error_code: str | None
    error_message: str | None
    raw: Wire
    """The answer as it came."""

    @property
    def model(self) -> str:
        """The model that the job runs with."""
        return str(self.raw.get("options", {}).get("model", ""))


@dataclass(frozen=True, slots=True)
class JobPage:
    """One page of a listing, newest first; `cursor` asks for the next."""

    jobs: tuple[Job, ...]
    cursor: str | None


def read_job(wire: Any) -> Job:
    """A job from the server's JSON. Raises ClientError(BAD_ANSWER)."""
    try:
        return _job(wire)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ClientError(BAD_ANSWER, f"the server's job cannot be read ({error!r})") from None


def read_page(wire: Any) -> JobPage:
    """A page of jobs from the server's JSON. Raises ClientError(BAD_ANSWER)."""
    if not isinstance(wire, dict) or not isinstance(wire.get("jobs"), list):
        raise ClientError(BAD_ANSWER, "the server's list of jobs cannot be read")
    cursor = wire.get("nextCursor")
    return JobPage(tuple(read_job(item) for item in wire["jobs"]), None if cursor is None else str(cursor))


def _job(wire: Wire) -> Job:
    error = wire.get("error") or {}
    return Job(
        id=str(wire["workerJobId"]),
        status=JobStatus(wire["status"]),
        stage=str(wire.get("stage") or ""),
        attempt=int(wire.get("attempt") or 0),
        owner=str(wire.get("owner") or ""),
        created_at=_time(wire.get("createdAt")),
        started_at=_time(wire.get("startedAt")),
        finished_at=_time(wire.get("finishedAt")),
        queue_position=_optional(int, wire.get("queuePosition")),
        waiting_for=str(wire.get("waitingFor") or ""),
        starts_in_s=_optional(float, wire.get("startsInSeconds")),
        eta_s=_optional(float, wire.get("etaSeconds")),
        progress=_progress(wire.get("progress") or {}),
        inputs=tuple(_input(item) for item in wire.get("inputs") or ()),
        outputs=tuple(_output(item) for item in wire.get("outputs") or ()),
        warnings=tuple(str(item) for item in wire.get("warnings") or ()),
        logs=tuple(_log_line(item) for item in wire.get("logs") or ()),
        timings_s={str(name): float(value) for name, value in (wire.get("timings") or {}).items()},
        gpu=_optional(str, wire.get("gpu")),
        error_code=_optional(str, error.get("code")),
        error_message=_optional(str, error.get("message")),
        raw=wire,
    )


def _progress(wire: Wire) -> Progress:
    return Progress(
        percent=float(wire.get("percent") or 0),
        file_index=int(wire.get("currentFileIndex") or 0),
        total_files=int(wire.get("totalFiles") or 0),
        current_file=_optional(str, wire.get("currentFile")),
        audio_s_done=float(wire.get("audioSecondsDone") or 0),
        audio_s_total=float(wire.get("audioSecondsTotal") or 0),
    )


def _input(wire: Wire) -> Input:
    duration = _optional(float, wire.get("durationSeconds"))
    size, digest = int(wire.get("sizeBytes") or 0), str(wire.get("sha256") or "")
    return Input(str(wire.get("inputId") or ""), str(wire["filename"]), size, digest, duration)


def _output(wire: Wire) -> Output:
    size, digest = int(wire.get("sizeBytes") or 0), str(wire.get("sha256") or "")
    return Output(str(wire.get("inputId") or ""), str(wire["filename"]), str(wire.get("type") or ""), size, digest)


def _log_line(wire: Any) -> LogLine:
    if not isinstance(wire, dict):
        return LogLine("", "info", str(wire))
    return LogLine(str(wire.get("at") or wire.get("ts") or ""), str(wire.get("level") or ""), str(wire.get("message")))


def _time(value: Any) -> datetime | None:
    """RFC 3339; Python 3.10 does not read the final Z."""
    return None if value is None else datetime.fromisoformat(str(value).replace("Z", "+00:00"))


def _optional(kind: Any, value: Any) -> Any:
    return None if value is None else kind(value)
