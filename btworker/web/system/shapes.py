"""What health, ping and preflight say, as the rest of the world sees it. Pure; web/schemas.py has the same for jobs."""

from typing import Literal

from pydantic import Field
from typing_extensions import NotRequired

from btworker.pool import BoxStatus
from btworker.web.refusal import Refusal
from btworker.web.schemas import Wire

SERVICE_NAME = "bulk-transcribe-worker"


class HealthWire(Wire):
    """Who answers here."""

    status: Literal["ok"] = "ok"
    service: str = SERVICE_NAME
    model: str
    max_file_mb: int = Field(serialization_alias="maxFileMB")


class LiveWire(Wire):
    """The event loop turns."""

    status: Literal["ok"] = "ok"


class BoxStatusWire(Wire):
    """A machine of a fleet: its name, and whether it takes jobs."""

    box: str
    status: BoxStatus


class BoxWire(BoxStatusWire):
    """The same, with what it has."""

    workers: int
    ready: int
    """Workers that can take jobs."""
    slots: int
    jobs: int
    problem: str
    """Why it takes none, as a sentence; empty where it does."""


class ReadyWire(Wire):
    """Jobs can be accepted and worked on."""

    status: Literal["ready"] = "ready"
    loading: bool
    """No child has a model: the next job starts one, and waits for it (WORKER_IDLE_UNLOAD_MINUTES)."""
    boxes: tuple[BoxStatusWire, ...] | None = Field(None, exclude_if=lambda value: value is None)
    """Those of a fleet."""


class NotReady(Refusal):
    """Every reason why not."""

    status: Literal["not_ready"]
    reasons: list[str]
    loading: bool
    boxes: NotRequired[list[BoxStatusWire]]


class IdentityWire(Wire):
    """Which build this is, as its environment says."""

    git_commit: str
    build_time: str
    declared_image_digest: str | None
    image_digest_source: Literal["env", "none"]


class GpuWire(Wire):
    """What the driver says of one GPU; null where it does not tell."""

    label: str
    up: bool
    """The driver answers for it."""
    utilization: float | None
    """0 to 1."""
    memory_used_bytes: int | None
    memory_total_bytes: int | None
    temperature_c: int | None


class PingWire(Wire):
    """What a controller asks before it dispatches. `activeJobs` are those not yet past their work."""

    status: Literal["ok"] = "ok"
    version: str
    """The commit of the build, as the stock worker has it; the release where the build names none."""
    worker_version: str
    """The release."""
    identity: IdentityWire
    gpu: bool
    gpu_name: str | None
    cuda: str | None
    diarization: bool
    diarization_error: str | None = Field(None, exclude_if=lambda value: value is None)
    models: tuple[str, ...]
    max_file_mb: int = Field(serialization_alias="maxFileMB")
    active_jobs: int
    max_concurrent_jobs: int
    waiting_jobs: int
    """Jobs that wait for their turn."""
    gpus: tuple[GpuWire, ...]
    """This machine's; empty where the CPU works."""
    disk_free_bytes: int | None
    """Room on the data disk; null where it does not answer at once."""
    disk_size_bytes: int | None
    disk_reserve_bytes: int
    """What of it stays free: uploads that would go below are refused."""
    warnings: tuple[str, ...] = Field((), exclude_if=lambda value: not value)
    boxes: tuple[BoxWire, ...] | None = Field(None, exclude_if=lambda value: value is None)
    """Those of a fleet, in the order in which they first joined; those that were lost within a day included."""


class PreflightWire(Wire):
    """What the children found in their own environment."""

    status: Literal["ok", "error"]
    checks: dict[str, bool]
    versions: dict[str, str]
    errors: dict[str, str]
