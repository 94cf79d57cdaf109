"""Why a job does not move: the model that is on its way, or what keeps every worker from loading one. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from btworker.jobs import Job, JobStatus, Stage
from btworker.pool import WorkerState

STARTING = "starting a worker process"
CANNOT_LOAD = "cannot load: {}"


def awaited(job: Job, workers: Sequence[WorkerState]) -> str:
    """Say what a job waits for beside the jobs before it; empty where that is all, or where it is at work."""
    if job.status is JobStatus.QUEUED and job.stage is Stage.QUEUED:
        return unready(workers)
    if job.status is JobStatus.RUNNING and job.stage is Stage.LOADING_MODEL:
        return next((worker.loading for worker in workers if job.id in worker.job_ids), "")
    return ""


def as_seen(job: Job, workers: Sequence[WorkerState]) -> Job:
    """The job as its clients see it: one that waits for a model is loading it, and warns where that cannot be."""
    if job.status is not JobStatus.QUEUED or not awaited(job, workers):
        return job
    return replace(job, stage=Stage.LOADING_MODEL).with_warnings(*map(CANNOT_LOAD.format, problems(workers)))


def unready(workers: Sequence[WorkerState]) -> str:
    """Say why no worker takes jobs at once; empty where one does."""
    if any(worker.loaded for worker in workers):
        return ""
    coming = [worker.loading or STARTING for worker in workers if worker.problem is None]
    return coming[0] if coming else CANNOT_LOAD.format("; ".join(problems(workers)))


def problems(workers: Sequence[WorkerState]) -> list[str]:
    """Say what is wrong with the workers, each sentence once."""
    found = [worker.problem.message for worker in workers if worker.problem and not worker.ready]
    return list(dict.fromkeys(found))
