"""What the web hands to the service, and gets back. Pure."""

from dataclasses import dataclass

from btworker.jobs import Delivery, Input, Job, JobId, Options


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to accept: its inputs already lie, durable, in its folder, or `sources` says where to fetch them."""

    id: JobId
    options: Options
    inputs: tuple[Input, ...]
    warnings: tuple[str, ...] = ()
    idempotency_key: str | None = None
    controller_job_id: str | None = None
    request_id: str | None = None
    sources: tuple[str, ...] = ()
    delivery: Delivery | None = None


@dataclass(frozen=True, slots=True)
class JobPage:
    """One page of a listing; `cursor` asks for the next."""

    jobs: tuple[Job, ...]
    cursor: int | None
