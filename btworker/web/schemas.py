"""What goes over the wire: a job as the rest of the world sees it, in camelCase, times in RFC 3339 UTC.

Pure; routes, client and documentation agree on these models.
"""

from datetime import datetime, timezone
from typing import Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from btworker.delivery.push import shown_host
from btworker.jobs import Job, JobStatus, Options, Output, OutputFormat, Progress
from btworker.locations import Delivery
from btworker.service.outlook import Outlook
from btworker.web.ranges import RangeWire


class Wire(BaseModel):
    """Base of every model: frozen, camelCase outside, snake_case inside."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)

    def to_json(self) -> str:
        """JSON text with the wire's names."""
        return self.model_dump_json(by_alias=True)


class ProgressWire(Wire):
    """How far a job is; seconds are seconds of audio of the current file."""

    percent: float
    current_file_index: int
    total_files: int
    current_file: str | None
    chunk_index: int
    total_chunks: int
    audio_seconds_done: float
    audio_seconds_total: float


class KnownSpeakerWire(Wire):
    """Somebody whom a job may know; the hash is that of what came for them."""

    name: str
    sha256: str


class OptionsWire(Wire):
    """The options as they were understood."""

    model: str
    language: str
    languages: tuple[str, ...]
    task: str
    prompt: str
    keywords: tuple[str, ...]
    keyword_bonus: float
    keyword_prompt_tokens: int
    temperature: float | None
    beam_size: int | None
    token_logprobs: bool
    decode: str
    word_timestamps: bool
    vad_enabled: bool
    hallucination_detection: bool
    hallucination_sensitivity: int
    no_speech_threshold: float
    diarization_enabled: bool
    num_speakers: int | None
    min_speakers: int | None
    max_speakers: int | None
    known_speakers: tuple[KnownSpeakerWire, ...]
    channels: str
    ranges: tuple[RangeWire, ...]
    outputs: tuple[OutputFormat, ...]
    priority: int


class InputWire(Wire):
    """One file that came in."""

    input_id: str
    filename: str
    size_bytes: int
    sha256: str
    duration_seconds: float | None
    audio_url: str | None
    peaks_url: str | None
    """Where players get the sound, once it is there; null: nowhere."""


class OutputWire(Wire):
    """One file that came out; `url` is a path on this server."""

    input_id: str
    filename: str
    type: str
    size_bytes: int
    sha256: str
    url: str


class LogWire(Wire):
    """One line of the job's own log."""

    at: str
    level: str
    message: str


class ErrorWire(Wire):
    """Why a job failed."""

    code: str
    message: str


class DeliveryWire(Wire):
    """How far the telling of a job is. Hosts stand for URLs, which may be signed."""

    state: str
    """waiting, delivering, delivered or failed."""
    outputs_host: str | None
    outputs_to: str | None
    """Folder of a bucket, as s3://store/bucket/folder/."""
    callback_host: str | None
    outputs_accepted: int
    attempts: int
    last_error: str | None
    began_at: str | None
    delivered_at: str | None


class JobWire(Wire):
    """The one representation of a job."""

    worker_job_id: str
    controller_job_id: str | None
    owner: str
    """Name of the key that submitted it; `operator` stands for WORKER_TOKEN."""
    status: JobStatus
    stage: str
    stage_started_at: str | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    attempt: int
    queue_position: int | None
    waiting_for: str | None
    """What keeps it from its start: jobs before it, or a model that is on its way, or cannot be loaded."""
    starts_in_seconds: float | None
    eta_seconds: float | None
    """Until its start and end: of a waiting job by finished ones, of a running one at its own pace; null: unknown."""
    progress: ProgressWire
    options: OptionsWire
    inputs: tuple[InputWire, ...]
    outputs: tuple[OutputWire, ...]
    logs: tuple[LogWire, ...]
    warnings: tuple[str, ...]
    timings: dict[str, float]
    gpu: str | None
    error: ErrorWire | None
    delivery: DeliveryWire | None


class JobListWire(Wire):
    """One page of jobs, newest first; `next_cursor` asks for the next page, null on the last."""

    jobs: tuple[JobWire, ...]
    next_cursor: str | None


class OutputListWire(Wire):
    """What a job produced."""

    outputs: tuple[OutputWire, ...]


class CancelWire(Wire):
    """A job was asked to stop; one that has ended stays as it is."""

    status: Literal["cancel_requested"] = "cancel_requested"


def job_wire(job: Job, outlook: Outlook, *, owner: str) -> JobWire:
    """A job for the wire."""
    return JobWire(
        worker_job_id=job.id,
        controller_job_id=job.controller_job_id,
        owner=owner,
        status=job.status,
        stage=job.stage.value,
        stage_started_at=rfc3339(job.stage_started_at),
        created_at=rfc3339(job.created_at) or "",
        started_at=rfc3339(job.started_at),
        finished_at=rfc3339(job.finished_at),
        attempt=job.attempt,
        queue_position=outlook.position,
        waiting_for=outlook.waiting_for or None,
        starts_in_seconds=outlook.starts_in_s,
        eta_seconds=outlook.ends_in_s,
        progress=_progress(job.progress),
        options=_options(job.options),
        inputs=tuple(_input(job, index) for index in range(len(job.inputs))),
        outputs=outputs_wire(job),
        logs=tuple(LogWire(at=rfc3339(line.at) or "", level=line.level, message=line.message) for line in job.logs),
        warnings=job.warnings,
        timings=dict(job.timings),
        gpu=job.gpu,
        error=None if job.error is None else ErrorWire(code=job.error.code.value, message=job.error.message),
        delivery=None if job.delivery is None else _delivery(job, job.delivery),
    )


def outputs_wire(job: Job) -> tuple[OutputWire, ...]:
    """A job's outputs, with their addresses."""
    return tuple(_output(job, item) for item in job.outputs)


def rfc3339(moment: float | None) -> str | None:
    """Seconds since the epoch as RFC 3339 in UTC, with milliseconds."""
    if moment is None:
        return None
    text = datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _progress(progress: Progress) -> ProgressWire:
    return ProgressWire(
        percent=progress.percent,
        current_file_index=progress.file_index,
        total_files=progress.total_files,
        current_file=progress.current_file,
        chunk_index=progress.chunk_index,
        total_chunks=progress.total_chunks,
        audio_seconds_done=progress.audio_s_done,
        audio_seconds_total=progress.audio_s_total,
    )


def _options(options: Options) -> OptionsWire:
    known = tuple(KnownSpeakerWire(name=one.name, sha256=one.sha256) for one in options.known_speakers)
    ranges = tuple(RangeWire(start=start, end=end) for start, end in options.ranges)
    plain = {name: getattr(options, name) for name in OptionsWire.model_fields}
    return OptionsWire(**{**plain, "known_speakers": known, "ranges": ranges})


def _delivery(job: Job, delivery: Delivery) -> DeliveryWire:
    has_failed = job.status.finished and not delivery.over and not job.owes_callback  # it never had what was to be sent
    return DeliveryWire(
        state="failed" if has_failed else delivery.state,
        outputs_host=shown_host(delivery.outputs_url),
        outputs_to=None if delivery.outputs_to is None else delivery.outputs_to.address,
        callback_host=shown_host(delivery.callback_url),
        outputs_accepted=len(delivery.accepted),
        attempts=delivery.attempts,
        last_error=delivery.last_error,
        began_at=rfc3339(delivery.began_at),
        delivered_at=rfc3339(delivery.callback_at),
    )


def _input(job: Job, index: int) -> InputWire:
    item, base = job.inputs[index], f"/v1/jobs/{job.id}/inputs/{index}"
    has_rendition = any(one.index == index for one in job.renditions)
    return InputWire(
        input_id=item.input_id,
        filename=item.filename,
        size_bytes=item.size_bytes,
        sha256=item.sha256,
        duration_seconds=item.duration_s,
        audio_url=f"{base}/audio" if has_rendition else None,
        peaks_url=f"{base}/peaks" if has_rendition else None,
    )


def _output(job: Job, item: Output) -> OutputWire:
    return OutputWire(
        input_id=item.input_id,
        filename=item.filename,
        type=item.type,
        size_bytes=item.size_bytes,
        sha256=item.sha256,
        url=f"/v1/jobs/{job.id}/outputs/{quote(item.filename, safe='')}",
    )
