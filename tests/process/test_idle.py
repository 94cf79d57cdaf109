"""Children that end for want of jobs (WORKER_IDLE_UNLOAD_MINUTES), and jobs that arrive meanwhile. Real processes."""

import os
import signal
import time
import urllib.request
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from btworker.jobs import JobStatus, Stage
from btworker.pool import Phase, WorkerState
from btworker.service import JobService
from btworker.service.awaited import as_seen
from tests.process.pool_of import alive, ended, running_service, submit, transcript
from tests.process.server_of import serving
from tests.process.service_manager import manager, watched
from tests.slices import FULL, luck_of
from tests.waiting import eventually, until

SOON = 5e-3
"""Minutes. On a busy machine, the commit that begins a job takes a tenth of that."""
RACE_SOON = 5e-4
"""Minutes."""
RACES = 1000 if FULL else 6
RACE_LOOK_S = 0.005
"""Seconds between two looks for an idle child, in the races: so that its end comes soon."""
END_S = 0.15
"""Longest time from a job's end to the next arrival, in the races: longer than a child takes to end."""


def unloaded(service: JobService, *, whole: bool = True) -> bool:
    """Whether no worker has a child; else whether all of them were told to end."""
    states = service.workers()
    return all(state.phase is Phase.UNLOADED and (state.pid is None or not whole) for state in states)


async def test_a_child_without_jobs_ends_and_the_next_job_brings_it_back(tmp_path: Path) -> None:
    """Looks at the service do not keep it up; it stays ready, nothing counts as lost, and the next job completes."""
    async with running_service(tmp_path, idle_unload_minutes=SOON) as service:
        first = await ended(service, await submit(service))
        pid = transcript(service, first)["pid"]

        async def looked_at() -> bool:
            await service.get(first.id)
            await service.page(status=None, limit=10, cursor=None)
            return unloaded(service)

        await eventually(looked_at)
        assert not alive(pid)
        [state] = service.workers()
        assert (state.ready, state.loaded, state.problem, state.restarts) == (True, False, None, ())
        second = await ended(service, await submit(service, text="good evening"))
        assert (second.status, second.attempt) == (JobStatus.COMPLETE, 1)
        assert transcript(service, second)["text"] == "good evening"
        assert transcript(service, second)["pid"] != pid
        assert service.workers()[0].restarts == ()


async def test_a_job_at_work_is_no_idleness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that runs far longer than the limit keeps its child."""
    monkeypatch.setattr("btworker.pool.supervisor.WATCH_INTERVAL_S", RACE_LOOK_S)
    async with running_service(tmp_path, idle_unload_minutes=SOON) as service:
        job = await submit(service, ["sleep", 1.5])
        phases = set()

        async def is_over() -> bool:
            phases.update(state.phase for state in service.workers() if job.id in state.job_ids)
            return (await service.get(job.id)).status.finished

        await eventually(is_over)
        assert phases == {Phase.BUSY}
        assert (await service.get(job.id)).status is JobStatus.COMPLETE


async def test_the_first_job_says_that_it_waits_for_the_model(tmp_path: Path) -> None:
    """While its child loads: queued, in the stage loading_model, with what is done for it; the worker stays ready."""
    async with running_service(tmp_path, model="slow", models="slow", idle_unload_minutes=SOON) as service:
        go = service.settings.scratch_dir / "go"
        go.touch()
        await eventually(lambda: unloaded(service))
        go.unlink()
        job = await submit(service)
        await eventually(lambda: service.outlooks.waiting_for(job).startswith("downloading the model slow"))
        seen = as_seen(await service.get(job.id), service.workers())
        assert (seen.status, seen.stage, seen.warnings) == (JobStatus.QUEUED, Stage.LOADING_MODEL, ())
        [state] = service.workers()
        assert (state.phase, state.ready, state.loaded) == (Phase.RELOADING, True, False)
        go.touch()
        assert (await ended(service, job)).status is JobStatus.COMPLETE


async def test_as_many_children_start_as_jobs_need(tmp_path: Path) -> None:
    """One job starts one of two; a second one that waits starts the other."""
    changes = {"max_concurrent_jobs": 2, "processes_per_gpu": 2, "idle_unload_minutes": SOON}
    async with running_service(tmp_path, **changes) as service:
        await eventually(lambda: unloaded(service))
        gate = tmp_path / "gate"
        first = await submit(service, ["wait_file", str(gate)])
        await eventually(lambda: service.running() == 1)
        assert Counter(state.phase for state in service.workers()) == {Phase.BUSY: 1, Phase.UNLOADED: 1}
        second = await submit(service, ["wait_file", str(gate)])
        await eventually(lambda: service.running() == 2)
        gate.touch()
        assert {(await ended(service, job)).status for job in (first, second)} == {JobStatus.COMPLETE}


async def test_a_job_that_is_canceled_while_its_child_loads_leaves_nothing_behind(tmp_path: Path) -> None:
    """The child comes up, has nothing to do, and ends again."""
    async with running_service(tmp_path, model="slow", models="slow", idle_unload_minutes=SOON) as service:
        go = service.settings.scratch_dir / "go"
        go.touch()
        await eventually(lambda: unloaded(service))
        go.unlink()
        job = await submit(service)
        await eventually(lambda: service.workers()[0].phase is Phase.RELOADING)
        assert (await service.cancel(job.id, "changed my mind")).status is JobStatus.CANCELED
        go.touch()
        await eventually(lambda: unloaded(service))


async def test_a_child_that_is_killed_while_it_ends_is_no_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is one that is recycled: the next job completes at its first attempt."""
    monkeypatch.setattr("btworker.pool.supervisor.WATCH_INTERVAL_S", RACE_LOOK_S)
    async with running_service(tmp_path, recycle_jobs=1, idle_unload_minutes=SOON) as service:
        await ended(service, await submit(service))
        await eventually(lambda: dict(service.workers()[0].restarts) == {"recycled": 1})
        await eventually(lambda: unloaded(service, whole=False))
        if (pid := service.workers()[0].pid) is not None and alive(pid):
            os.kill(pid, signal.SIGKILL)
        job = await ended(service, await submit(service))
        assert (job.status, job.attempt) == (JobStatus.COMPLETE, 1)
        assert set(dict(service.workers()[0].restarts)) == {"recycled"}


@pytest.mark.timeout(7200 if FULL else 120)
async def test_nothing_is_lost_between_a_child_s_end_and_an_arrival(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs that come before, while and after two children end: every one completes with its own text."""
    monkeypatch.setattr("btworker.pool.supervisor.WATCH_INTERVAL_S", RACE_LOOK_S)
    luck = luck_of("races between a child's end and an arrival")
    met: Counter[str] = Counter()
    changes = {"max_concurrent_jobs": 2, "processes_per_gpu": 2, "idle_unload_minutes": RACE_SOON}
    async with running_service(tmp_path, **changes) as service:
        await eventually(lambda: any(state.loaded for state in service.workers()))
        for number in range(RACES):
            await _arrival(service, number, luck)
            met[_moment(service.workers())] += 1
            texts = [f"race {number}, job {one}" for one in range(luck.choice((1, 1, 2)))]
            jobs = [await submit(service, text=text) for text in texts]
            for job, text in zip(jobs, texts, strict=True):
                done = await ended(service, job)
                assert (done.status, transcript(service, done)["text"]) == (JobStatus.COMPLETE, text)
        assert all(state.restarts == () for state in service.workers())
    print(f"{RACES} races: {dict(met)}")
    assert {"ending", "gone"} <= met.keys()


async def _arrival(service: JobService, number: int, luck: Random) -> None:
    """Wait for the moment of a race: every third time while a child ends or once all are gone, else any moment."""
    if number % 3 == 0:
        await eventually(lambda: any(state.phase is Phase.UNLOADED for state in service.workers()))
    elif number % 3 == 1:
        await eventually(lambda: unloaded(service))
    else:
        at = time.monotonic() + luck.uniform(0, END_S)
        await eventually(lambda: time.monotonic() >= at)


def _moment(states: tuple[WorkerState, ...]) -> str:
    if any(state.phase is Phase.UNLOADED and state.pid is not None for state in states):
        return "ending"
    return "gone" if all(state.phase is Phase.UNLOADED for state in states) else "loaded"


def test_a_server_without_children_is_ready_and_alive(tmp_path: Path) -> None:
    """Ready with `loading`; ping and metrics agree; the watchdog is fed; a job completes; SIGTERM ends it cleanly."""
    address = str(tmp_path / "notify")
    setting = {"WORKER_IDLE_UNLOAD_MINUTES": str(SOON)}
    with manager(address) as systemd, serving(tmp_path, **watched(address), **setting) as server:
        until(lambda: server.request("GET", "/health/ready") == (200, {"status": "ready", "loading": True}))
        systemd.forget()
        assert [systemd.hear() for _ in range(3)] == [["WATCHDOG=1"]] * 3
        assert server.request("GET", "/v1/ping")[1].get("warnings") is None
        assert server.request("GET", "/v1/preflight")[1]["status"] == "ok"
        figures = metrics(server.url)
        assert figures["btworker_ready"] == figures['btworker_worker_up{gpu="cpu"}'] == 1
        assert figures['btworker_worker_unloaded{gpu="cpu"}'] == 1
        assert server.request("GET", "/health/ready") == (200, {"status": "ready", "loading": True})
        assert server.ended(server.submit())["status"] == "complete"
        until(lambda: server.request("GET", "/health/ready") == (200, {"status": "ready", "loading": True}))
        server.process.send_signal(signal.SIGTERM)
        systemd.hear_until("STATUS=draining: running jobs may finish")
        assert server.process.wait(60) == 0


def metrics(url: str) -> dict[str, float]:
    """Every series and its value."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}
