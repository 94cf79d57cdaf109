"""A front end and its boxes, each a process with children of its own: what happens to jobs when any of them ends, is
stopped, is drained or is of another version. Ray itself: test_ray.py."""

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from btworker.jobs import Job, JobStatus
from btworker.metrics.service import ServiceCollector
from btworker.pool import BoxStatus
from btworker.service import JobService
from tests.fleet.fleet_of import Fleet, running_fleet
from tests.fleet.line import line
from tests.process.pool_of import alive, ended, submit, transcript
from tests.slices import FULL
from tests.waiting import eventually

pytestmark = pytest.mark.sliced("fleet", 1)
PARTITION_S = 60.0 if FULL else 0.0
"""Seconds for which a box is cut off at least."""


def resumed(service: JobService, job: Job) -> list[int]:
    """Which attempt wrote each window of the transcript."""
    return [window["attempt"] for window in transcript(service, job)["windows"]]


async def until_windows(fleet: Fleet, job: Job, count: int) -> None:
    """Wait until the front end has so many of its windows."""
    await eventually(lambda: windows_done(fleet, job) >= count, f"{count} windows")


def windows_done(fleet: Fleet, job: Job) -> int:
    """How many of its windows the front end has."""
    path = fleet.service.data.folder(job.id).windows_of(0)
    return path.read_bytes().count(b"\n") if path.exists() else 0


def held(path: Path, *, attempt: int = 1) -> list[list[Any]]:
    """A script of five windows, of which an attempt does three and then waits for a file."""
    return [["windows", 3], ["on_attempt", attempt, ["wait_file", str(path)]], ["windows", 5]]


async def test_jobs_outlive_boxes_and_gateways(tmp_path: Path) -> None:
    """A box that is killed costs its job no window that was done: another box goes on from the last one. So does the
    death of the gateway, which costs no attempt; and the box that died is used again."""
    async with running_fleet(tmp_path, "one", "two") as fleet:
        job = await submit(fleet.service, *held(tmp_path / "never"))
        await until_windows(fleet, job, 3)
        first = fleet.box_of(job.id)
        fleet.kill(first)
        done = await ended(fleet.service, job)
        assert done.status is JobStatus.COMPLETE, done.error
        assert resumed(fleet.service, done) == [1, 1, 1, 2, 2]
        assert any(f"lost with the box {first}, which was killed" in line.message for line in done.logs)

        await fleet.until_ready("one", "two")
        job = await submit(fleet.service, *held(tmp_path / "never"))
        await until_windows(fleet, job, 3)
        gateway = fleet.pool._link.pid
        assert gateway is not None
        os.kill(gateway, signal.SIGKILL)
        done = await ended(fleet.service, job)
        assert done.status is JobStatus.COMPLETE, done.error
        assert resumed(fleet.service, done) == [1, 1, 1, 2, 2]
        assert await fleet.service._store.losses(job.id) == 0
        await fleet.until_ready("one", "two")
        boxes = [fleet.pid(name) for name in ("one", "two")]
    await eventually(lambda: not any(map(alive, boxes)), "the boxes end with their front end")


def boxes_up(service: JobService) -> dict[str, bool]:
    """What a scrape says of the boxes."""
    [family] = [one for one in ServiceCollector(service).collect() if one.name == "btworker_box_up"]
    return {sample.labels["box"]: bool(sample.value) for sample in family.samples}


@pytest.mark.timeout(300)
async def test_a_partitioned_box_is_fenced(tmp_path: Path) -> None:
    """A box that is stopped for longer than it may be silent loses its job to another one; when it goes on, what it
    has made meanwhile changes nothing, and it joins again. With BTWORKER_FULL=1 for a minute, by the default limit."""
    go_on = tmp_path / "go-on"
    async with running_fleet(tmp_path, "one", "two", fleet_silence_s=20 if FULL else 5) as fleet:
        job = await submit(fleet.service, *held(go_on))
        await until_windows(fleet, job, 3)
        first = fleet.box_of(job.id)
        fleet.kill(first, signal.SIGSTOP)
        stopped_at = time.monotonic()
        go_on.touch()  # its child comes to the end, and nobody takes its results
        done = await ended(fleet.service, job)
        assert done.status is JobStatus.COMPLETE, done.error
        assert resumed(fleet.service, done) == [1, 1, 1, 2, 2]
        assert boxes_up(fleet.service) == {"one": first != "one", "two": first != "two"}
        out = fleet.service.data.folder(job.id).outputs
        before = [(path.name, path.stat().st_ino, path.stat().st_mtime_ns) for path in out.iterdir()]
        await eventually(lambda: time.monotonic() - stopped_at >= PARTITION_S, "the partition has lasted")
        fleet.kill(first, signal.SIGCONT)
        await fleet.until_ready("one", "two")
        assert boxes_up(fleet.service) == {"one": True, "two": True}
        assert [(path.name, path.stat().st_ino, path.stat().st_mtime_ns) for path in out.iterdir()] == before
        assert (await fleet.service.get(job.id)).attempt == 2
        again = await ended(fleet.service, await submit(fleet.service))
        assert again.status is JobStatus.COMPLETE


async def test_a_drain_under_load(tmp_path: Path) -> None:
    """With more jobs than places a box is drained: after no more than one window each of its jobs goes on elsewhere
    with the next one, without being charged; nothing is lost or done twice."""
    gates = [tmp_path / f"gate-{number}" for number in range(1, 6)]
    steps = [step for n, gate in enumerate(gates, 1) for step in (["windows", n], ["wait_file", str(gate)])]
    async with running_fleet(tmp_path, "one", "two", box={"WORKER_MAX_CONCURRENT_JOBS": "2"}) as fleet:
        jobs = [await submit(fleet.service, *steps) for _ in range(6)]
        await eventually(lambda: [fleet.boxes()[name]["jobs"] for name in ("one", "two")] == [2, 2], "both have two")
        on_one = [job for job in jobs if fleet.box_of(job.id) == "one"]
        for job in on_one:
            await until_windows(fleet, job, 1)
        await fleet.pool.answer({"action": "drain", "box": "one"})
        began = time.monotonic()
        gates[0].touch()  # each job at work may do one more window, and none a second one
        await eventually(lambda: fleet.boxes()["one"]["jobs"] == 0, "the drained box has no job")
        print(f"{len(on_one)} jobs were handed over {time.monotonic() - began:.2f} s after their window was begun")
        for gate in gates[1:]:
            gate.touch()
        for job in jobs:
            done = await ended(fleet.service, job)
            assert done.status is JobStatus.COMPLETE, done.error
            by_attempt = resumed(fleet.service, done)
            first = by_attempt.count(1)  # 1 where the drain came before the word of its first window
            assert by_attempt == [1] * first + [2] * (5 - first)
            assert first in ((1, 2) if job in on_one else (5,))
            assert await fleet.service._store.losses(job.id) == 0
            assert any("since the box one is drained" in line.message for line in done.logs) == (job in on_one)


async def test_drained_odd_and_canceled(tmp_path: Path) -> None:
    """A drained box gets no new jobs and loses none, also after a restart of the front end; a box of another version
    says so in one sentence and gets none; a cancel reaches the box; a child's death there is one as here."""
    go_on = tmp_path / "go-on"
    async with running_fleet(tmp_path, "one") as fleet:
        fleet.add_box("odd", WORKER_MODEL="other")
        running = await submit(fleet.service, *held(go_on))
        await until_windows(fleet, running, 3)
        await fleet.pool.answer({"action": "drain", "box": "one"})
        waits = await submit(fleet.service)
        await eventually(lambda: fleet.boxes().get("odd", {}).get("problem"), "the odd box was refused")
        assert fleet.boxes()["odd"]["problem"] == (
            "the box odd takes no jobs: it has WORKER_MODEL other, and the front end fake; "
            "give both the same (docs/fleet.md, Upgrade)"
        )
        go_on.touch()
        assert (await ended(fleet.service, running)).attempt == 1
        assert (await fleet.service.get(waits.id)).status is JobStatus.QUEUED
    (tmp_path / "cluster" / "odd" / "env.json").unlink()
    async with running_fleet(tmp_path, "one") as fleet:
        assert fleet.boxes()["one"]["status"] is BoxStatus.DRAINED
        assert (await fleet.service.get(waits.id)).status is JobStatus.QUEUED
        await fleet.pool.answer({"action": "resume", "box": "one"})
        assert (await ended(fleet.service, waits)).status is JobStatus.COMPLETE

        killed = await submit(fleet.service, ["windows", 2], ["on_attempt", 1, ["signal", "SIGKILL"]], ["windows", 3])
        done = await ended(fleet.service, killed)
        assert done.status is JobStatus.COMPLETE, done.error
        assert resumed(fleet.service, done) == [1, 1, 2]

        canceled = await submit(fleet.service, *held(tmp_path / "never"))
        await until_windows(fleet, canceled, 3)
        await fleet.service.cancel(canceled.id, "nobody wants it")
        assert (await ended(fleet.service, canceled)).status is JobStatus.CANCELED
        jobs = tmp_path / "cluster" / "one" / "data" / "boxes" / "one" / "jobs"
        await eventually(lambda: not list(jobs.iterdir()), "nothing of a job stays on its box")
        await asyncio.sleep(0)


async def test_a_box_that_cannot_start_says_why(tmp_path: Path) -> None:
    """Not only that it ended: a setting that is wrong there is named where the operator looks, for as long as it is
    wrong; with a right one the box is used."""
    async with running_fleet(tmp_path) as fleet:

        def problem() -> str:
            return str(fleet.boxes().get("one", {}).get("problem", ""))

        fleet.add_box("one", WORKER_BATCH_SIZE="many")
        await eventually(lambda: "WORKER_BATCH_SIZE" in problem(), "it says so")
        assert problem().startswith("the box one cannot start: wrong settings: - WORKER_BATCH")
        first = fleet.pid("one")
        await eventually(lambda: fleet.pid("one") != first, "it was started again")
        assert problem().startswith("the box one cannot start")
        fleet.add_box("one", WORKER_BATCH_SIZE="4")
        await fleet.until_ready("one")
        assert problem() == ""


SOUND = "sound" * 400_000


async def test_a_child_does_not_wait_for_the_line(tmp_path: Path) -> None:
    """While a job is at work, its box fetches the input of the next one, which then begins although no input moves on
    the line, nor the results of the job before it. Inputs of a job that is canceled, or starts elsewhere, go."""
    go_on = tmp_path / "go-on"
    async with line() as slow, running_fleet(tmp_path, line=slow) as fleet:
        fleet.add_box("one", WORKER_MAX_CONCURRENT_JOBS="1")
        await fleet.until_ready("one")
        first = await submit(fleet.service, *held(go_on))
        await until_windows(fleet, first, 3)
        second = await submit(fleet.service, ["windows", 1], text=SOUND)
        third = await submit(fleet.service, text=SOUND)
        await eventually(lambda: f"{second.id}/in/0" in fleet.on_disk("one"), "the next input comes", within_s=60)
        copy = next((tmp_path / "cluster/one/data/boxes/one/jobs").glob(f"{second.id}*/in/0"))
        await eventually(lambda: copy.stat().st_size == len(SOUND), "all of it comes", within_s=60)
        assert not any(name.startswith(third.id) for name in fleet.on_disk("one")), "one for each slot"
        slow.hold(lambda what: "/files/in/" in what or what.startswith("PUT"))
        go_on.touch()
        await until_windows(fleet, second, 1)
        assert (await fleet.service.get(first.id)).status is JobStatus.RUNNING
        slow.hold(lambda _: False)
        for job in (first, second, third):
            assert (await ended(fleet.service, job)).status is JobStatus.COMPLETE
        assert sum(f"{second.id}" in what and "/files/in/0" in what for what in slow.asked) == 1

        await submit(fleet.service, *held(tmp_path / "never"))
        canceled = await submit(fleet.service)
        await eventually(lambda: f"{canceled.id}/in/0" in fleet.on_disk("one"), "its input comes")
        moved = await submit(fleet.service)
        await fleet.service.cancel(canceled.id, "nobody wants it")
        await eventually(lambda: f"{moved.id}/in/0" in fleet.on_disk("one"), "the input of the one behind it comes")
        assert not any(name.startswith(canceled.id) for name in fleet.on_disk("one"))
        fleet.add_box("two")
        done = await ended(fleet.service, moved)
        assert any("runs on the box two" in entry.message for entry in done.logs)
        await eventually(lambda: not any(name.startswith(moved.id) for name in fleet.on_disk("one")), "it goes")
