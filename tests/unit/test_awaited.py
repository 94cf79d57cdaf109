"""What a job waits for, as a sentence: pure functions of a job and the workers."""

import pytest

from btworker.errors import ErrorCode, ErrorInfo
from btworker.jobs import Job, JobId, JobStatus, Options, Stage
from btworker.messages import Loading
from btworker.pool import Phase, WorkerState
from btworker.service.awaited import STARTING, as_seen, awaited
from btworker.specs import Device

JOB = Job(JobId("wk_0123456789ab"), Options(model="small"), (), created_at=0.0)
READY = WorkerState(0, Device("cpu"), Phase.IDLE)
STARTS = WorkerState(1, Device("cpu"), Phase.STARTING)
LOADS = WorkerState(2, Device("cpu"), Phase.STARTING, loading="downloading the model small (3 of 461 MB)")
FAILED = WorkerState(
    3, Device("cpu"), Phase.WAITING, problem=ErrorInfo(ErrorCode.MODEL_UNAVAILABLE, "the model small is not here")
)


@pytest.mark.parametrize(
    ("loading", "sentence"),
    [
        (Loading("loading the model small"), "loading the model small"),
        (Loading("downloading the model small", 0, 483_617_219), "downloading the model small (0 of 461 MB)"),
        (Loading("checking the model large-v3", 2**30, 3_087_371_615), "checking the model large-v3 (1.0 of 2.9 GB)"),
    ],
)
def test_what_is_done_for_a_model_is_a_sentence(loading: Loading, sentence: str) -> None:
    """With the bytes where they are known."""
    assert loading.sentence == sentence


@pytest.mark.parametrize(
    ("workers", "sentence"),
    [
        ((READY, FAILED), ""),
        ((STARTS,), STARTING),
        ((LOADS, STARTS), LOADS.loading),
        ((FAILED, LOADS), LOADS.loading),
        ((FAILED, FAILED), "cannot load: the model small is not here"),
    ],
)
def test_a_queued_job_waits_for_a_worker_that_can_take_it(workers: tuple[WorkerState, ...], sentence: str) -> None:
    """For the first that is on its way; for none where one is ready."""
    assert awaited(JOB, workers) == sentence
    assert as_seen(JOB, workers).stage is (Stage.LOADING_MODEL if sentence else Stage.QUEUED)


def test_a_problem_is_a_warning_while_it_lasts() -> None:
    """Of the job as it is seen, which is never stored."""
    assert as_seen(JOB, (FAILED,)).warnings == ("cannot load: the model small is not here",)
    assert as_seen(JOB, (READY,)) is JOB


def test_a_running_job_waits_for_its_own_worker() -> None:
    """While that one swaps its model, and for nothing at any other time."""
    running = JOB.evolve(status=JobStatus.RUNNING, stage=Stage.LOADING_MODEL)
    swaps = WorkerState(0, Device("cpu"), Phase.BUSY, job_ids=(JOB.id,), loading="loading the model small")
    assert awaited(running, (LOADS, swaps)) == "loading the model small"
    assert awaited(running.evolve(stage=Stage.TRANSCRIBING), (LOADS, swaps)) == ""
    downloading = JOB.evolve(stage=Stage.DOWNLOADING)
    assert awaited(downloading, (STARTS,)) == "" and as_seen(downloading, (STARTS,)) is downloading
