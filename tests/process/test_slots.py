"""Several jobs at once in one child: what one of them may do to the others, and what it may not."""

import itertools
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from btworker.errors import ErrorCode
from btworker.jobs import Job, JobStatus
from btworker.service import JobService
from tests.process.pool_of import alive, ended, running_service, submit, transcript
from tests.process.server_of import serving
from tests.waiting import eventually, until


async def at_work(service: JobService, *jobs: Job) -> int:
    """Wait until the first child has these jobs and no other; its process id."""
    ids = tuple(job.id for job in jobs)
    await eventually(lambda: service.workers()[0].job_ids == ids)
    pid = service.workers()[0].pid
    assert pid is not None
    return pid


async def losses(service: JobService, job: Job) -> int:
    """Deaths that the job was charged with."""
    return await service._store.losses(job.id)


def windows_stored(service: JobService, job: Job) -> int:
    """How many windows of the job's first input another attempt would find."""
    path = service.data.folder(job.id).windows_of(0)
    return len(path.read_bytes().splitlines()) if path.exists() else 0


async def test_jobs_at_once_in_one_child(tmp_path: Path) -> None:
    """As many as it has slots, in one process; the next one waits for a slot, and has it as soon as one is free."""
    async with running_service(tmp_path, max_concurrent_jobs=3) as service:
        gates = [tmp_path / str(n) for n in range(4)]
        jobs = [await submit(service, ["windows", 1], ["wait_file", str(gate)], text=gate.name) for gate in gates]
        pid = await at_work(service, *jobs[:3])
        worker = service.workers()[0]
        assert (service.slots, len(service.workers()), worker.slots) == (3, 1, 3)
        assert worker.job_ids == tuple(job.id for job in jobs[:3])
        assert service.outlooks.of(jobs[3]).position == 0
        gates[1].touch()
        assert (await ended(service, jobs[1])).status is JobStatus.COMPLETE
        await eventually(lambda: service.workers()[0].job_ids == (jobs[0].id, jobs[2].id, jobs[3].id))
        for gate in gates:
            gate.touch()
        done = [await ended(service, job) for job in jobs]
        results = [transcript(service, job) for job in done]
        assert {(job.status, job.attempt) for job in done} == {(JobStatus.COMPLETE, 1)}
        assert {result["pid"] for result in results} == {pid}
        assert [result["text"] for result in results] == [gate.name for gate in gates]


@pytest.mark.parametrize(("short_slots", "owners"), [("auto", ("other", "third")), (1, ("other", "flood", "other"))])
async def test_a_clip_waits_for_no_recording(tmp_path: Path, short_slots: int | str, owners: tuple[str, ...]) -> None:
    """Beside a key whose recording has the only slot, and whose others wait for it: the clip of another key starts at
    once, in the same process; no second recording does. With WORKER_SHORT_SLOTS, so do clips of the same key."""
    async with running_service(tmp_path, max_concurrent_jobs=1, short_slots=short_slots) as service:
        gate, minutes = tmp_path / "gate", "x" * 300_000
        recordings = [await submit(service, ["wait_file", str(gate)], text=minutes, owner="flood") for _ in range(3)]
        pid = await at_work(service, recordings[0])
        clips = [await submit(service, owner=owner) for owner in owners]
        done = [await ended(service, clip) for clip in clips]
        assert {job.status for job in done} == {JobStatus.COMPLETE}
        assert {transcript(service, job)["pid"] for job in done} == {pid}
        assert await at_work(service, recordings[0]) == pid and not gate.exists()
        assert [service.outlooks.of(one).position for one in recordings[1:]] == [0, 1]
        gate.touch()
        assert {(await ended(service, one)).status for one in recordings} == {JobStatus.COMPLETE}


async def test_of_one_key_no_more_jobs_are_at_work_than_slots(tmp_path: Path) -> None:
    """Clips are no exception, unless WORKER_SHORT_SLOTS says so: each starts once the one before it has ended."""
    async with running_service(tmp_path, max_concurrent_jobs=1) as service:
        gate = tmp_path / "gate"
        jobs = [await submit(service, ["wait_file", str(gate)]), *[await submit(service) for _ in range(3)]]
        await at_work(service, jobs[0])
        gate.touch()
        done = [await ended(service, job) for job in jobs]
        for before, after in itertools.pairwise(done):
            assert before.finished_at is not None and after.started_at is not None
            assert before.finished_at <= after.started_at


async def test_cancel_of_one_leaves_the_others(tmp_path: Path) -> None:
    """Its child and the jobs beside it go on."""
    async with running_service(tmp_path, max_concurrent_jobs=3) as service:
        gate = tmp_path / "gate"
        jobs = [await submit(service, ["wait_file", str(gate)]) for _ in range(3)]
        pid = await at_work(service, *jobs[:3])
        await service.cancel(jobs[1].id, "changed my mind")
        canceled = await ended(service, jobs[1])
        assert (canceled.status, canceled.error.message) == (JobStatus.CANCELED, "changed my mind")
        assert service.workers()[0].job_ids == (jobs[0].id, jobs[2].id)
        gate.touch()
        for job in (await ended(service, jobs[0]), await ended(service, jobs[2])):
            assert (job.status, job.attempt, transcript(service, job)["pid"]) == (JobStatus.COMPLETE, 1, pid)


async def test_cancel_that_needs_a_kill_costs_the_others_nothing(tmp_path: Path) -> None:
    """A job that does not stop takes its child with it; the others start again, beside each other, and pay nothing."""
    async with running_service(tmp_path, max_concurrent_jobs=3, max_attempts=1) as service:
        gate = tmp_path / "gate"
        others = [await submit(service, ["windows", 1], ["wait_file", str(gate)]) for _ in range(2)]
        await eventually(lambda: all(service.data.folder(other.id).windows_of(0).exists() for other in others))
        stuck = await submit(service, ["windows", 1], ["spin", 60])
        await eventually(service.data.folder(stuck.id).windows_of(0).exists)
        await service.cancel(stuck.id, "stuck")
        canceled = await ended(service, stuck, within_s=20)
        assert (canceled.status, canceled.attempt) == (JobStatus.CANCELED, 1)
        await at_work(service, *others)
        gate.touch()
        for job in [await ended(service, other) for other in others]:
            assert (job.status, job.attempt, job.alone) == (JobStatus.COMPLETE, 2, False)
            assert await losses(service, job) == 0
            assert any("did not stop when it was canceled" in line.message for line in job.logs)


async def test_a_poison_job_among_innocent_ones(tmp_path: Path) -> None:
    """It fails after its attempts alone. Each innocent one completes, alone, with one more attempt and no loss."""
    async with running_service(tmp_path, max_concurrent_jobs=6) as service:
        go, gate = tmp_path / "go", tmp_path / "gate"
        script = ["windows", 2], ["wait_file", str(gate)], ["windows", 3]
        innocent = [await submit(service, *script) for _ in range(5)]
        poison = await submit(service, ["wait_file", str(go)], ["signal", "SIGKILL"])
        await at_work(service, *innocent, poison)
        await eventually(lambda: all(service.data.folder(job.id).windows_of(0).exists() for job in innocent))
        go.touch()
        await at_work(service, innocent[0])
        gate.touch()
        for job in [await ended(service, job) for job in innocent]:
            assert (job.status, job.attempt, job.alone) == (JobStatus.COMPLETE, 2, True)
            assert await losses(service, job) == 0
            assert any("with other jobs in it" in line.message for line in job.logs)
            assert [window["attempt"] for window in transcript(service, job)["windows"]] == [1, 1, 2]
        poison = await ended(service, poison)
        assert (poison.status, poison.error.code, poison.attempt) == (JobStatus.FAILED, ErrorCode.WORKER_CRASHED, 3)
        assert "2 times" in poison.error.message
        assert dict(service.workers()[0].restarts) == {"worker_crash": 3}


async def test_a_job_that_is_to_run_alone_is_not_overtaken_for_ever(tmp_path: Path) -> None:
    """Once it is its turn, nothing that came later starts in its child, which is empty in the end."""
    async with running_service(tmp_path, max_concurrent_jobs=3) as service:
        first_gate, lone_gate, k1, k2 = (tmp_path / name for name in ("first", "lone", "k1", "k2"))
        first = await submit(service, ["wait_file", str(first_gate)])
        lone = await submit(service, ["wait_file", str(lone_gate)])
        os.kill(await at_work(service, first, lone), signal.SIGKILL)
        await at_work(service, first)
        urgent = [await submit(service, ["wait_file", str(gate)], priority=9) for gate in (k1, k2)]
        first_gate.touch()
        await at_work(service, *urgent)
        late = await submit(service)
        k1.touch()
        assert (await ended(service, urgent[0])).status is JobStatus.COMPLETE
        assert service.workers()[0].job_ids == (urgent[1].id,)
        k2.touch()
        await at_work(service, lone)
        assert (await service.get(late.id)).status is JobStatus.QUEUED
        lone_gate.touch()
        lone, late = await ended(service, lone), await ended(service, late)
        assert (lone.status, late.status, late.attempt) == (JobStatus.COMPLETE, JobStatus.COMPLETE, 1)


async def test_a_death_alone_is_charged_at_once(tmp_path: Path) -> None:
    """Slots that nobody uses make no company."""
    async with running_service(tmp_path, max_concurrent_jobs=4) as service:
        job = await ended(service, await submit(service, ["signal", "SIGKILL"]))
        assert (job.status, job.error.code, job.attempt) == (JobStatus.FAILED, ErrorCode.WORKER_CRASHED, 2)


@pytest.mark.parametrize("step", [["signal", "SIGSTOP"], ["wait_file", "never"]], ids=["all of it", "one job"])
async def test_a_hung_job_among_healthy_ones(tmp_path: Path, step: list[Any]) -> None:
    """The silence of one is enough, however much the others say. It is TIMEOUT after its attempts alone."""
    async with running_service(tmp_path, max_concurrent_jobs=2, window_timeout_s=2) as service:
        healthy = await submit(service, *(["on_attempt", 1, ["sleep", 0.2]] for _ in range(200)))
        go = tmp_path / "go"
        hung = await submit(service, ["on_attempt", 1, ["wait_file", str(go)]], ["sleep", 0], step)
        await at_work(service, healthy, hung)
        go.touch()
        done = await ended(service, healthy)
        assert (done.status, done.attempt, await losses(service, done)) == (JobStatus.COMPLETE, 2, 0)
        hung = await ended(service, hung)
        assert (hung.status, hung.error.code, hung.attempt) == (JobStatus.FAILED, ErrorCode.TIMEOUT, 3)


async def test_a_gpu_that_breaks_under_several_jobs(tmp_path: Path) -> None:
    """Whichever saw it first: all of them run again alone, and the one that breaks it alone fails with GPU_ERROR."""
    async with running_service(tmp_path, max_concurrent_jobs=3) as service:
        go, gate = tmp_path / "go", tmp_path / "gate"
        others = [await submit(service, ["wait_file", str(gate)]) for _ in range(2)]
        breaks = await submit(service, ["wait_file", str(go)], ["fail", "GPU_ERROR", "illegal address"])
        pid = await at_work(service, *others, breaks)
        go.touch()
        assert await at_work(service, others[0]) != pid
        gate.touch()
        for job in [await ended(service, other) for other in others]:
            assert (job.status, job.attempt, await losses(service, job)) == (JobStatus.COMPLETE, 2, 0)
            assert any("illegal address, with other jobs in it" in line.message for line in job.logs)
        breaks = await ended(service, breaks)
        assert (breaks.status, breaks.error.code, breaks.attempt) == (JobStatus.FAILED, ErrorCode.GPU_ERROR, 3)
        assert not alive(pid)


async def test_all_jobs_of_a_child_may_see_its_gpu_break(tmp_path: Path) -> None:
    """That is one failure of the GPU and not as many as jobs saw it: no rest for the GPU, no loss for the jobs."""
    async with running_service(tmp_path, max_concurrent_jobs=4) as service:
        go = tmp_path / "go"
        breaks = ["on_attempt", 1, ["wait_file", str(go)]], ["on_attempt", 1, ["fail", "GPU_ERROR", "illegal address"]]
        jobs = [await submit(service, *breaks) for _ in range(4)]
        await at_work(service, *jobs)
        go.touch()
        for job in [await ended(service, job) for job in jobs]:
            assert (job.status, job.attempt, await losses(service, job)) == (JobStatus.COMPLETE, 2, 0)
        assert dict(service.workers()[0].restarts) == {"gpu_error": 1}


async def test_a_gpu_that_breaks_late_under_several_jobs(tmp_path: Path) -> None:
    """The job that has its words is complete, those beside it run again alone, without a loss."""
    async with running_service(tmp_path, max_concurrent_jobs=2) as service:
        go, gate = tmp_path / "go", tmp_path / "gate"
        other = await submit(service, ["wait_file", str(gate)])
        late = await submit(service, ["windows", 1], ["wait_file", str(go)], ["broke"])
        pid = await at_work(service, other, late)
        go.touch()
        late = await ended(service, late)
        assert (late.status, late.attempt) == (JobStatus.COMPLETE, 1)
        await eventually(lambda: service.workers()[0].pid not in (None, pid))
        await at_work(service, other)
        gate.touch()
        other = await ended(service, other)
        assert (other.status, other.attempt, await losses(service, other)) == (JobStatus.COMPLETE, 2, 0)


async def test_a_library_that_ends_its_thread_ends_the_child(tmp_path: Path) -> None:
    """sys.exit in a job's thread: nobody waits for a job that nobody works on."""
    async with running_service(tmp_path, max_concurrent_jobs=2) as service:
        job = await ended(service, await submit(service, ["windows", 1], ["on_attempt", 1, ["quit"]], ["windows", 2]))
        assert (job.status, job.attempt) == (JobStatus.COMPLETE, 2)
        assert any("exited with status 1" in line.message for line in job.logs)


async def test_a_worn_out_child_is_replaced_once_it_is_empty(tmp_path: Path) -> None:
    """It takes no more jobs; those in it come to their end, and the next one has a fresh child."""
    async with running_service(tmp_path, max_concurrent_jobs=3, recycle_jobs=2) as service:
        gate = tmp_path / "gate"
        long = await submit(service, ["wait_file", str(gate)])
        pid = await at_work(service, long)
        for _ in range(2):
            short = await ended(service, await submit(service))
            assert transcript(service, short)["pid"] == pid
        following = await submit(service)
        assert service.workers()[0].job_ids == (long.id,)
        assert (await service.get(following.id)).status is JobStatus.QUEUED
        gate.touch()
        long, following = await ended(service, long), await ended(service, following)
        assert [transcript(service, job)["pid"] == pid for job in (long, following)] == [True, False]
        assert {(job.status, job.attempt) for job in (long, following)} == {(JobStatus.COMPLETE, 1)}
        assert dict(service.workers()[0].restarts) == {"recycled": 1}


async def test_jobs_of_one_child_want_one_model(tmp_path: Path) -> None:
    """A job for another model waits for an empty child, though there is a slot, and is not overtaken meanwhile."""
    async with running_service(tmp_path, max_concurrent_jobs=3) as service:
        gate, other_gate = tmp_path / "gate", tmp_path / "other"
        first = await submit(service, ["wait_file", str(gate)])
        beside = await submit(service, ["wait_file", str(gate)])
        await at_work(service, first, beside)
        other = await submit(service, ["wait_file", str(other_gate)], model="other")
        late = await submit(service)
        assert service.workers()[0].job_ids == (first.id, beside.id)
        gate.touch()
        await at_work(service, other)
        assert (await service.get(late.id)).status is JobStatus.QUEUED
        other_gate.touch()
        assert {(await ended(service, job)).status for job in (first, beside, other, late)} == {JobStatus.COMPLETE}


async def test_restart_with_several_at_work(tmp_path: Path) -> None:
    """All of them go on from their last window, without a loss; one that is to run alone still is."""
    async with running_service(tmp_path, max_concurrent_jobs=3) as service:
        script = ["windows", 2], ["on_attempt", 1, ["wait_file", str(tmp_path / "never")]], ["windows", 3]
        jobs = [await submit(service, *script) for _ in range(3)]
        pid = await at_work(service, *jobs)
        await eventually(lambda: all(windows_stored(service, job) == 2 for job in jobs))
    assert not alive(pid)
    async with running_service(tmp_path, max_concurrent_jobs=3) as service:
        for job in [await ended(service, job) for job in jobs]:
            assert (job.status, job.attempt, await losses(service, job)) == (JobStatus.COMPLETE, 2, 0)
            assert [window["attempt"] for window in transcript(service, job)["windows"]] == [1, 1, 2]
        gate = tmp_path / "gate"
        pair = [await submit(service, ["wait_file", str(gate)]) for _ in range(2)]
        os.kill(await at_work(service, *pair), signal.SIGKILL)
        await at_work(service, pair[0])
    async with running_service(tmp_path, max_concurrent_jobs=3) as service:
        await at_work(service, pair[0])
        gate.touch()
        for job in [await ended(service, job) for job in pair]:
            assert (job.status, job.alone, await losses(service, job)) == (JobStatus.COMPLETE, True, 0)


def test_sigterm_drains_several(tmp_path: Path) -> None:
    """Those that end in time are complete; the others go back to the queue, at no cost, and the exit code is 0."""
    gate = tmp_path / "gate"
    with serving(tmp_path, WORKER_MAX_CONCURRENT_JOBS="3", WORKER_DRAIN_SECONDS="2") as server:
        quick = [server.submit(["wait_file", str(gate)]) for _ in range(2)]
        slow = server.submit(["windows", 1], ["on_attempt", 1, ["wait_file", str(tmp_path / "never")]], ["windows", 2])
        until(lambda: [server.job(job)["status"] for job in (*quick, slow)] == ["running"] * 3)
        server.process.send_signal(signal.SIGTERM)
        gate.touch()
        assert server.process.wait(60) == 0
    with serving(tmp_path, WORKER_MAX_CONCURRENT_JOBS="3") as server:
        assert [(server.job(job)["status"], server.job(job)["attempt"]) for job in quick] == [("complete", 1)] * 2
        done = server.ended(slow)
        assert (done["status"], done["attempt"]) == ("complete", 2)


def test_every_line_of_a_child_names_its_job(tmp_path: Path) -> None:
    """However many jobs speak at the same time."""
    gate = tmp_path / "gate"
    with serving(tmp_path, WORKER_MAX_CONCURRENT_JOBS="3") as server:
        jobs = {server.submit(["wait_file", str(gate)], ["raise", f"trouble {n}"]): f"trouble {n}" for n in range(3)}
        until(lambda: all(server.job(job)["stage"] == "transcribing" for job in jobs))
        gate.touch()
        assert {server.ended(job)["error"]["code"] for job in jobs} == {"PROCESSING_ERROR"}
        events = [json.loads(line) for line in server.log.read_text().splitlines()]
    raised = [event for event in events if event["event"] == "job_raised"]
    assert len(raised) == 3 and len({event["childPid"] for event in raised}) == 1
    assert all(jobs[event["workerJobId"]] in event["exception"] for event in raised)
