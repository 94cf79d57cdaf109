"""Real spawned children with the scripted engine: what a job may rely on when its process does not behave."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from btworker.errors import ErrorCode
from btworker.jobs import JobStatus, Stage
from btworker.pool import Phase
from tests.process.pool_of import alive, descriptors, ended, running_service, submit, transcript
from tests.waiting import eventually


async def test_job_completes_in_a_child(tmp_path: Path) -> None:
    """A job runs in another process, its output is what that process wrote, and its input is gone afterwards."""
    async with running_service(tmp_path) as service:
        job = await ended(service, await submit(service, text="good morning"))
        assert (job.status, job.stage, job.progress.percent) == (JobStatus.COMPLETE, Stage.COMPLETE, 100.0)
        result = transcript(service, job)
        assert result["text"] == "good morning"
        assert result["pid"] == service.workers()[0].pid != os.getpid()
        assert job.attempt == 1 and job.started_at >= job.created_at
        await eventually(lambda: not service.data.folder(job.id).inputs.exists())


async def test_two_processes_work_at_once(tmp_path: Path) -> None:
    """With two slots in two processes two jobs run at the same time, one in each."""
    async with running_service(tmp_path, max_concurrent_jobs=2, processes_per_gpu=2) as service:
        gate = tmp_path / "gate"
        jobs = [await submit(service, ["wait_file", str(gate)]) for _ in range(3)]
        await eventually(lambda: service.running() == 2)
        assert service.outlooks.of(jobs[2]).position == 0
        gate.touch()
        results = [transcript(service, await ended(service, job)) for job in jobs]
        assert len({result["pid"] for result in results}) == 2


async def test_priority_goes_first(tmp_path: Path) -> None:
    """Of the waiting jobs the one with the higher priority starts first, then the older one."""
    async with running_service(tmp_path) as service:
        gate = tmp_path / "gate"
        await submit(service, ["wait_file", str(gate)])
        await eventually(lambda: service.running() == 1)
        low, first, second = [await submit(service, priority=p) for p in (1, 9, 9)]
        assert [service.outlooks.of(j).position for j in (first, second, low)] == [0, 1, 2]
        gate.touch()
        done = [await ended(service, job) for job in (first, second, low)]
        assert sorted(done, key=lambda job: job.finished_at) == done


async def test_what_a_job_finds_out_about_its_child_is_known_afterwards(tmp_path: Path) -> None:
    """Speakers, which are loaded when a job first asks for them, cannot be: ping would not know from Ready alone."""
    async with running_service(tmp_path) as service:
        await ended(service, await submit(service))
        assert service.workers()[0].info.diarization_error is None
        await ended(service, await submit(service, ["no_speakers", "the pipeline is broken"]))
        await eventually(lambda: service.workers()[0].info.diarization_error == "the pipeline is broken")
        assert service.workers()[0].ready


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGABRT"])
async def test_killed_child_costs_one_attempt_and_no_finished_window(tmp_path: Path, name: str) -> None:
    """kill -9 in the middle of a job: the second attempt completes it without repeating the finished windows."""
    async with running_service(tmp_path, keep_inputs=True) as service:
        job = await submit(service, ["windows", 3], ["on_attempt", 1, ["signal", name]], ["windows", 5])
        job = await ended(service, job)
        assert (job.status, job.attempt) == (JobStatus.COMPLETE, 2)
        lines = service.data.folder(job.id).windows_of(0).read_text().splitlines()
        attempts = [line.split('"attempt": ')[1][0] for line in lines]
        assert attempts == ["1", "1", "1", "2", "2"]
        assert any(name in line.message for line in job.logs)


async def test_outside_kill_costs_one_attempt(tmp_path: Path) -> None:
    """The same when somebody else kills the child."""
    async with running_service(tmp_path) as service:
        gate = tmp_path / "gate"
        job = await submit(service, ["windows", 2], ["on_attempt", 1, ["wait_file", str(gate)]], ["windows", 4])
        await eventually(lambda: service.workers()[0].job_ids == (job.id,))
        pid = service.workers()[0].pid
        os.kill(pid, signal.SIGKILL)
        job = await ended(service, job)
        assert (job.status, job.attempt) == (JobStatus.COMPLETE, 2)
        assert transcript(service, job)["pid"] != pid


async def test_poison_job_ends_and_the_queue_goes_on(tmp_path: Path) -> None:
    """A job that kills its process twice is failed with WORKER_CRASHED; the job behind it completes."""
    async with running_service(tmp_path) as service:
        poison = await submit(service, ["signal", "SIGKILL"])
        good = await submit(service)
        poison, good = await ended(service, poison), await ended(service, good)
        assert (poison.status, poison.error.code, poison.attempt) == (JobStatus.FAILED, ErrorCode.WORKER_CRASHED, 2)
        assert "SIGKILL" in poison.error.message
        assert good.status is JobStatus.COMPLETE
        assert service.counters.jobs["failed", "worker_crash"] == 1


async def test_a_child_that_died_leaves_nothing_in_the_end(tmp_path: Path) -> None:
    """After the last attempt no other comes to clear away: scratch sound and half the results go with the job's end."""
    async with running_service(tmp_path, max_attempts=1) as service:
        job = await submit(service, ["windows", 1], ["tool_left", 60], ["wait_file", str(tmp_path / "never")])
        scratch = service.settings.scratch_dir
        await eventually(lambda: list(scratch.iterdir()))
        (service.data.folder(job.id).path / "out.part").mkdir()
        os.kill(service.workers()[0].pid, signal.SIGKILL)
        assert (await ended(service, job)).error.code is ErrorCode.WORKER_CRASHED
        await eventually(lambda: not list(scratch.iterdir()))
        await eventually(lambda: not list(service.data.folder(job.id).path.iterdir()))


async def test_failure_keeps_the_child(tmp_path: Path) -> None:
    """An error that has a code fails the job with it; an unforeseen one is PROCESSING_ERROR; the child stays."""
    async with running_service(tmp_path) as service:
        bad = await ended(service, await submit(service, ["fail", "NO_AUDIO", "no sound in it"]))
        pid = service.workers()[0].pid
        worse = await ended(service, await submit(service, ["raise", "secret detail"]))
        good = await ended(service, await submit(service))
        assert (bad.error.code, bad.error.message) == (ErrorCode.NO_AUDIO, "no sound in it")
        assert worse.error.code is ErrorCode.PROCESSING_ERROR and "secret" not in worse.error.message
        assert transcript(service, good)["pid"] == pid


async def test_broken_gpu_context_gets_a_new_child(tmp_path: Path) -> None:
    """After GPU_ERROR the child is replaced and the job tried once more."""
    async with running_service(tmp_path) as service:
        job = await ended(service, await submit(service, ["on_attempt", 1, ["fail", "GPU_ERROR", "illegal address"]]))
        assert (job.status, job.attempt) == (JobStatus.COMPLETE, 2)
        assert service.workers()[0].restarts == (("gpu_error", 1),)


async def test_large_last_word_before_death_is_read(tmp_path: Path) -> None:
    """What the child said before it died counts; half a message does not hang the parent."""
    async with running_service(tmp_path) as service:
        warnings = [["warn", "w" * 60_000 + str(n)] for n in range(50)]
        job = await submit(service, *warnings, ["on_attempt", 1, ["exit", 3]])
        job = await ended(service, job)
        assert job.status is JobStatus.COMPLETE
        assert len(job.warnings) == 50


async def test_cancel_running_and_waiting(tmp_path: Path) -> None:
    """A waiting job is canceled at once, a running one by its child, and the child takes the next job."""
    async with running_service(tmp_path) as service:
        gate = tmp_path / "gate"
        running = await submit(service, ["wait_file", str(gate)])
        waiting = await submit(service)
        await eventually(lambda: service.workers()[0].job_ids == (running.id,))
        pid = service.workers()[0].pid
        assert (await service.cancel(waiting.id, "changed my mind")).status is JobStatus.CANCELED
        await service.cancel(running.id, "changed my mind")
        job = await ended(service, running)
        assert (job.status, job.error.code, job.error.message) == (
            JobStatus.CANCELED, ErrorCode.CANCELED, "changed my mind",
        )  # fmt: skip
        after = await ended(service, await submit(service))
        assert transcript(service, after)["pid"] == pid


async def test_cancel_kills_a_child_that_does_not_listen(tmp_path: Path) -> None:
    """A child stuck in C code is killed; the job is canceled and not tried again."""
    async with running_service(tmp_path) as service:
        job = await submit(service, ["windows", 1], ["spin", 60])
        await eventually(lambda: service.workers()[0].job_ids == (job.id,))
        await service.cancel(job.id, "stuck")
        job = await ended(service, job, within_s=20)
        assert (job.status, job.attempt) == (JobStatus.CANCELED, 1)


async def test_model_preference(tmp_path: Path) -> None:
    """A job goes to the idle child that has its model loaded."""
    async with running_service(tmp_path, max_concurrent_jobs=2, processes_per_gpu=2) as service:
        await eventually(lambda: all(worker.ready for worker in service.workers()))
        first = await ended(service, await submit(service, ["swap", "other"]))
        pid = transcript(service, first)["pid"]
        for _ in range(3):
            job = await ended(service, await submit(service, model="other"))
            assert transcript(service, job)["pid"] == pid
            plain = await ended(service, await submit(service, model="fake"))
            assert transcript(service, plain)["pid"] != pid


@pytest.mark.parametrize(
    ("model", "sentence", "reason"),
    [("broken-model", "not in the cache", "internal"), ("killed-model", "SIGKILL", "worker_crash")],
)
async def test_child_that_cannot_load_says_why(tmp_path: Path, model: str, sentence: str, reason: Any) -> None:
    """The service stays up, accepts jobs, and tells the reason; there is no loop of restarts."""
    async with running_service(tmp_path, model=model, models=model) as service:
        await eventually(lambda: service.workers()[0].phase is Phase.WAITING)
        state = service.workers()[0]
        assert sentence in state.problem.message and not state.ready
        job = await submit(service)
        assert (await service.get(job.id)).status is JobStatus.QUEUED
        assert service.workers()[0].restarts == ((reason, 1),)


async def test_stop_leaves_no_process_and_no_descriptor(tmp_path: Path) -> None:
    """After stop the children are gone, whatever they were doing, and so are the pipes to them."""
    before = descriptors()
    async with running_service(tmp_path, max_concurrent_jobs=2, processes_per_gpu=2) as service:
        await submit(service, ["spin", 60])
        await eventually(lambda: service.running() == 1 and all(w.ready for w in service.workers()))
        pids = [worker.pid for worker in service.workers()]
    assert not any(alive(pid) for pid in pids)
    await eventually(lambda: descriptors() <= before + 3)


async def test_restart_keeps_finished_jobs_and_goes_on_with_the_others(tmp_path: Path) -> None:
    """What was complete stays; what ran goes on from its last window; what waited runs."""
    gate = tmp_path / "gate"
    async with running_service(tmp_path, keep_inputs=True) as service:
        done = await ended(service, await submit(service))
        ran = await submit(service, ["windows", 2], ["on_attempt", 1, ["wait_file", str(gate)]], ["windows", 3])
        waited = await submit(service)
        await eventually(lambda: service.data.folder(ran.id).windows_of(0).exists())
    async with running_service(tmp_path, keep_inputs=True) as service:
        assert (await service.get(done.id)).outputs == done.outputs
        ran, waited = await ended(service, ran), await ended(service, waited)
        assert (ran.status, ran.attempt, waited.status) == (JobStatus.COMPLETE, 2, JobStatus.COMPLETE)
        lines = service.data.folder(ran.id).windows_of(0).read_text().splitlines()
        assert [line.split('"attempt": ')[1][0] for line in lines] == ["1", "1", "2"]
