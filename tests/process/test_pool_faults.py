"""Children that hang, leak, eat memory, break their GPU or are killed all the time: what it costs, and whom."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from btworker.errors import ErrorCode, ErrorInfo
from btworker.job_folder import JobFolder
from btworker.jobs import Input, Job, JobId, JobStatus, Options, Output, Stage
from btworker.messages import Cancel, Failed, Finished, RunTask, Warned, WindowDone, WorkerLost
from btworker.pool import Phase
from btworker.pool.supervisor import Supervisor
from tests.process.memory_group import memory_group
from tests.process.pool_of import alive, ended, running_service, settings_for, submit, transcript
from tests.slices import FULL, luck_of
from tests.waiting import eventually


async def test_a_cancel_that_comes_late_is_not_for_the_next_attempt(tmp_path: Path) -> None:
    """It was on its way to the child when the attempt ended. The next one of the same job in the same child, which a
    fleet may well send there, runs to its end."""
    pool = Supervisor(settings_for(tmp_path))
    (tmp_path / "scratch").mkdir()
    await pool.start()
    events = pool.events()
    try:
        await eventually(lambda: pool.accepting, "the child is ready")
        for attempt in (1, 2):
            folder = JobFolder(tmp_path / str(attempt))
            folder.inputs.mkdir(parents=True)
            folder.input(0).write_text("hello")
            options = Options(model="fake", prompt=json.dumps({"steps": [["windows", 1], ["sleep", 0.3]]}))
            task = RunTask(JobId("wk_late"), attempt, folder.path, (Input("0", "a.wav", "a", 5, ""),), options)
            assert pool.send_to(0, task) is not None
            end = await anext(event async for event in events if isinstance(event, Finished | Failed))
            assert isinstance(end, Finished), end
            child = pool._workers[0]._child
            assert child is not None
            child.cancel(Cancel(task.job_id, attempt))
    finally:
        await pool.stop()


@pytest.mark.parametrize("step", [["signal", "SIGSTOP"], ["spin", 60]], ids=["stopped", "stuck in C"])
async def test_a_hung_child_is_killed_and_its_job_goes_on(tmp_path: Path, step: list[Any]) -> None:
    """Silence beyond the limit costs the child and one attempt; the next attempt goes on from the last window."""
    async with running_service(tmp_path, window_timeout_s=1, keep_inputs=True) as service:
        job = await submit(service, ["windows", 2], ["on_attempt", 1, step], ["windows", 3])
        job = await ended(service, job, within_s=30)
        assert (job.status, job.attempt) == (JobStatus.COMPLETE, 2)
        lines = service.data.folder(job.id).windows_of(0).read_text().splitlines()
        assert [line.split('"attempt": ')[1][0] for line in lines] == ["1", "1", "2"]
        assert any("without a sign of life while transcribing" in line.message for line in job.logs)


async def test_a_job_that_always_hangs_is_timeout(tmp_path: Path) -> None:
    """After two attempts the job fails with TIMEOUT, its children are gone, and the next job completes."""
    async with running_service(tmp_path, window_timeout_s=1) as service:
        await eventually(lambda: service.workers()[0].ready)
        pid = service.workers()[0].pid
        steps = (["windows", 1], ["on_attempt", 2, ["windows", 2]], ["signal", "SIGSTOP"])
        hung = await submit(service, *steps)
        good = await submit(service)
        hung = await ended(service, hung, within_s=40)
        assert (hung.status, hung.error.code, hung.attempt) == (JobStatus.FAILED, ErrorCode.TIMEOUT, 2)
        assert service.counters.jobs["failed", "timeout"] == 1
        assert (await ended(service, good)).status is JobStatus.COMPLETE
        assert not alive(pid)


async def test_a_late_word_of_an_earlier_attempt_changes_nothing(tmp_path: Path) -> None:
    """Whatever comes of an attempt that is over, its result included, the second attempt's job stays as it is."""
    async with running_service(tmp_path) as service:
        gate = tmp_path / "gate"
        script = (["windows", 1], ["on_attempt", 1, ["signal", "SIGKILL"]], ["wait_file", str(gate)])
        job = await submit(service, *script)

        async def second_attempt() -> Job | None:
            now = await service.get(job.id)
            return now if now.attempt == 2 and now.stage is Stage.TRANSCRIBING else None

        before = await eventually(second_attempt)
        output = Output("0", "talk_transcript.json", "json", 3, "0" * 64)
        for late in (
            Finished(job.id, 1, (output,), (30.0,), ()),
            Failed(job.id, 1, ErrorInfo(ErrorCode.CORRUPT_AUDIO, "late")),
            WorkerLost(job.id, 1, "was killed by SIGKILL"),
            WindowDone(job.id, 1, 0, 7, 1.0, 2.0),
            Warned(job.id, 1, "late"),
        ):
            await service._attempts.on_event(late)
            assert await service.get(job.id) == before
        gate.touch()
        done = await ended(service, job)
        assert (done.status, done.attempt) == (JobStatus.COMPLETE, 2)
        assert done.outputs != (output,)


async def test_healthy_slow_work_survives(tmp_path: Path) -> None:
    """A job that takes longer than the limit, but says something now and then, is left alone."""
    async with running_service(tmp_path, window_timeout_s=4) as service:
        steps = [step for n in range(1, 5) for step in (["windows", n], ["sleep", 1.5])]
        job = await ended(service, await submit(service, *steps))
        assert (job.status, job.attempt) == (JobStatus.COMPLETE, 1)
        assert job.finished_at - job.started_at > 4


async def test_a_child_that_hangs_while_it_loads_is_killed(tmp_path: Path) -> None:
    """The service says so, stays up, and works as soon as a later start succeeds."""
    async with running_service(tmp_path, model="slow", models="slow", load_timeout_s=4) as service:
        await eventually(lambda: service.workers()[0].problem)
        state = service.workers()[0]
        assert "without a sign of life while loading" in state.problem.message and not state.ready
        (service.settings.scratch_dir / "go").touch()
        job = await ended(service, await submit(service))
        assert job.status is JobStatus.COMPLETE


async def test_a_child_is_replaced_after_so_many_jobs(tmp_path: Path) -> None:
    """Between two jobs, so that no attempt is spent."""
    async with running_service(tmp_path, recycle_jobs=2) as service:
        jobs = [await submit(service) for _ in range(5)]
        done = [await ended(service, job) for job in jobs]
        pids = [transcript(service, job)["pid"] for job in done]
        assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]
        assert {(job.status, job.attempt) for job in done} == {(JobStatus.COMPLETE, 1)}


async def test_a_child_that_has_grown_is_replaced(tmp_path: Path) -> None:
    """Only a new process gives memory back."""
    async with running_service(tmp_path, recycle_growth_mb=64) as service:
        first = await ended(service, await submit(service, ["leak", 8]))
        leaky = await ended(service, await submit(service, ["leak", 128]))
        after = await ended(service, await submit(service))
        pids = [transcript(service, job)["pid"] for job in (first, leaky, after)]
        assert pids[0] == pids[1] != pids[2]
        assert after.attempt == 1


async def test_a_gpu_that_fails_job_after_job_gets_a_rest(tmp_path: Path) -> None:
    """Three different jobs in a row: quarantined, with a sentence; after the rest it works again, and is trusted."""
    async with running_service(tmp_path, quarantine_minutes=0.2, max_attempts=1) as service:
        for number in range(3):
            assert service.workers()[0].phase is not Phase.QUARANTINED, number
            job = await ended(service, await submit(service, ["fail", "GPU_ERROR", "illegal address"]))
            assert job.error.code is ErrorCode.GPU_ERROR
        await eventually(lambda: service.workers()[0].phase is Phase.QUARANTINED)
        state = service.workers()[0]
        assert not state.ready and "3 different jobs in a row" in state.problem.message
        waiting = await submit(service)
        assert (await service.get(waiting.id)).status is JobStatus.QUEUED
        assert (await ended(service, waiting)).status is JobStatus.COMPLETE
        once = await ended(service, await submit(service, ["fail", "GPU_ERROR", "illegal address"]))
        assert once.error.code is ErrorCode.GPU_ERROR
        assert (await ended(service, await submit(service))).status is JobStatus.COMPLETE


@pytest.mark.timeout(300)
async def test_poison_jobs_do_not_stop_the_queue(tmp_path: Path) -> None:
    """Among good jobs, those that kill their process are failed with WORKER_CRASHED, and every good one completes."""
    poison_count, good_count = (20, 200) if FULL else (5, 40)
    async with running_service(tmp_path, max_concurrent_jobs=2, processes_per_gpu=2) as service:
        kinds = ["poison"] * poison_count + ["good"] * good_count
        luck_of("poison").shuffle(kinds)
        jobs = [(kind, await submit(service, *([["signal", "SIGSEGV"]] if kind == "poison" else []))) for kind in kinds]
        done = [(kind, await ended(service, job, within_s=280)) for kind, job in jobs]
    good = [job for kind, job in done if kind == "good"]
    poison = [job for kind, job in done if kind == "poison"]
    assert {(job.status, job.attempt) for job in good} == {(JobStatus.COMPLETE, 1)}
    assert {(job.status, job.error.code, job.attempt) for job in poison} == {
        (JobStatus.FAILED, ErrorCode.WORKER_CRASHED, 2)
    }


@pytest.mark.timeout(300)
async def test_kills_of_children_cost_nobody_else(tmp_path: Path) -> None:
    """SIGKILL at random, some of them during a load or with 50 MB under way: noticed, and nothing else is lost."""
    rng = luck_of("kills of children")
    async with running_service(tmp_path, max_concurrent_jobs=2, processes_per_gpu=2, max_attempts=10) as service:
        steady = await submit(service, ["wait_file", str(tmp_path / "gate")])
        await eventually(lambda: any(steady.id in worker.job_ids for worker in service.workers()))
        other = next(worker.index for worker in service.workers() if steady.id not in worker.job_ids)
        for _ in range(50 if FULL else 8):
            job = await submit(service, ["spill", rng.choice((0, 0, 50))], ["sleep", 0.05])
            pid = await eventually(lambda: service.workers()[other].pid)
            if rng.random() < 0.9:
                await eventually(lambda: service.workers()[other].ready)
            os.kill(pid, signal.SIGKILL)
            await eventually(lambda: service.workers()[other].pid != pid, within_s=10)  # noqa: B023 - called at once
            assert (await ended(service, job)).status is JobStatus.COMPLETE
        (tmp_path / "gate").touch()
        steady = await ended(service, steady)
        assert (steady.status, steady.attempt) == (JobStatus.COMPLETE, 1)


async def test_a_death_while_speakers_are_told_apart_has_one_more_attempt(tmp_path: Path) -> None:
    """The engine then leaves speakers out; a job that dies elsewhere has no more attempts than before."""
    async with running_service(tmp_path, max_attempts=1) as service:
        dies = ["on_attempt", 1, ["signal", "SIGKILL"]]
        saved = await ended(service, await submit(service, ["windows", 1], ["diarize"], dies), within_s=30)
        assert (saved.status, saved.attempt) == (JobStatus.COMPLETE, 2)
        await eventually(lambda: not service.data.folder(saved.id).diarizing.exists())
        lost = await ended(service, await submit(service, ["windows", 1], dies), within_s=30)
        assert (lost.status, lost.error.code) == (JobStatus.FAILED, ErrorCode.WORKER_CRASHED)
        twice = await ended(service, await submit(service, ["diarize"], ["signal", "SIGKILL"]), within_s=60)
        assert (twice.status, twice.attempt) == (JobStatus.FAILED, 2)


async def test_a_gpu_that_breaks_after_the_words_costs_the_child_and_not_the_job(tmp_path: Path) -> None:
    """The job is complete; the child gives way to a fresh one, and the next job has it."""
    async with running_service(tmp_path) as service:
        await eventually(lambda: service.workers()[0].ready)
        pid = service.workers()[0].pid
        job = await ended(service, await submit(service, ["windows", 1], ["diarize"], ["broke"]))
        assert job.status is JobStatus.COMPLETE
        following = await ended(service, await submit(service), within_s=30)
        assert following.status is JobStatus.COMPLETE
        assert service.workers()[0].pid != pid
        assert not alive(pid)


async def test_children_go_first_when_memory_ends(tmp_path: Path) -> None:
    """The kernel's out-of-memory killer is told to take a child before the service."""
    async with running_service(tmp_path) as service:
        await eventually(lambda: service.workers()[0].ready)
        with open(f"/proc/{service.workers()[0].pid}/oom_score_adj", encoding="ascii") as child:
            assert int(child.read()) >= 500
        with open("/proc/self/oom_score_adj", encoding="ascii") as parent:
            assert int(parent.read()) < 500


@pytest.mark.serial
@pytest.mark.system("root", "memory cgroup")
@pytest.mark.timeout(300)
async def test_a_job_that_eats_all_memory_takes_only_its_child(tmp_path: Path) -> None:
    """In a cgroup that is too small for the job, the kernel kills its child; the job fails, the service goes on."""
    with memory_group(limit_mb=400) as group:
        async with running_service(tmp_path, max_attempts=1) as service:
            for _ in range(20 if FULL else 4):
                await eventually(lambda: service.workers()[0].ready)
                group.add(service.workers()[0].pid)
                eater = await ended(service, await submit(service, ["eat", 2000]))
                assert (eater.status, eater.error.code) == (JobStatus.FAILED, ErrorCode.WORKER_CRASHED)
                assert "want of memory" in eater.error.message
                assert (await ended(service, await submit(service))).status is JobStatus.COMPLETE
