"""What the web hands to the service, and gets back. Pure."""

from dataclasses import dataclass

from btworker.jobs import Input, Job, JobId, Options, Progress, Stage
from btworker.keys import OPERATOR
from btworker.locations import Delivery, Source


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
    sources: tuple[Source, ...] = ()
    delivery: Delivery | None = None
    owner: str = OPERATOR

    def job(self, now: float, trace: str = "") -> Job:
        """The job that becomes of it, accepted `now` with a request of this traceparent."""
        first = self.inputs[0].filename if self.inputs else None
        return Job(
            id=self.id,
            options=self.options,
            inputs=self.inputs,
            created_at=now,
            stage=Stage.DOWNLOADING if self.sources else Stage.QUEUED,
            stage_started_at=now,
            progress=Progress(total_files=len(self.inputs), current_file=first),
            warnings=self.warnings,
            controller_job_id=self.controller_job_id,
            idempotency_key=self.idempotency_key,
            request_id=self.request_id,
            owner=self.owner,
            trace=trace,
            sources=self.sources,
            delivery=self.delivery,
        )


@dataclass(frozen=True, slots=True)
class JobPage:
    """One page of a listing; `cursor` asks for the next."""

    jobs: tuple[Job, ...]
    cursor: int | None
