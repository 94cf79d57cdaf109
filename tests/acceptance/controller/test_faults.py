"""Faults of both sides: a hundred jobs, ten kills of the worker, and a controller that makes trouble of every kind."""

import asyncio
import json
import signal
from collections import Counter, defaultdict
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest

from tests.acceptance.conftest import Worker, script
from tests.acceptance.controller.controller import Controller, FaultError, Record, controlling
from tests.acceptance.controller.dispatching import AUTH, dispatched, settings
from tests.slices import FULL
from tests.waiting import eventually

JOBS = 100 if FULL else 40
KILLS = 10 if FULL else 4
AT_ONCE = 10
TROUBLE: dict[str, tuple[float, tuple[str | int, ...]]] = {
    "input": (0.15, (500, 503, "reset")),
    "middle": (0.15, ("reset",)),
    "output": (0.15, (500, 502, "reset")),
    "output answer": (0.03, (500,)),
    "callback": (0.15, (500, 503, "reset")),
}
"""Place -> (how often, how)."""


class Trouble:
    """A controller's faults, from a seed."""

    def __init__(self, seed: int) -> None:
        self._rng = Random(seed)
        self.made: Counter[str] = Counter()

    def __call__(self, what: str, _record: Record) -> None:
        share, ways = TROUBLE.get(what, (0.0, ("reset",)))
        if self._rng.random() < share:
            self.made[what] += 1
            raise FaultError(self._rng.choice(ways))


def record_of(number: int) -> Record:
    count = 1 + number % 3
    inputs = {f"input-{n}": (f"talk {n}.mp3", f"speech {number} {n}\n".encode() * 2000) for n in range(count)}
    return Record(f"job-{number}", inputs, {"model": "fake", "prompt": script(["windows", 3], ["sleep", 0.05])})


def events(worker: Worker) -> dict[str, list[str]]:
    """The names of a job's events, in order, from the worker's log."""
    found: dict[str, list[str]] = defaultdict(list)
    for line in worker.log.read_text().splitlines():
        if line.startswith("{") and (job := (event := json.loads(line)).get("workerJobId")):
            found[job].append(event["event"])
    return found


@pytest.mark.timeout(600)
# A connection that comes while the controller stops can be left to the garbage collector by asyncio's own server.
@pytest.mark.filterwarnings("ignore:.*_SelectorTransport.__del__:pytest.PytestUnraisableExceptionWarning")
async def test_every_job_is_delivered_whatever_breaks(tmp_path: Path) -> None:
    """All outputs received, the status right, nothing worked on again once its results are there."""
    trouble = Trouble(5)
    async with controlling(faults=trouble) as controller:
        worker = Worker(tmp_path, settings(controller)).start()
        records = [record_of(number) for number in range(JOBS)]
        places = asyncio.Semaphore(AT_ONCE)

        async def one(session: aiohttp.ClientSession, record: Record) -> None:
            async with places:
                await dispatched(controller, session, record)
                await eventually(lambda: record.callbacks, within_s=300)

        async with aiohttp.ClientSession(worker.url, headers=AUTH) as session:
            jobs = asyncio.gather(*(one(session, record) for record in records))
            await killed(worker, records, Random(7))
            await restarted(controller)
            await jobs
            await eventually(lambda: all(_all_told(record) for record in records), within_s=300)
            answers = [await final(session, record) for record in records]
        assert worker.stop() == 0, worker.log.read_text()[-3000:]
    for record, job in zip(records, answers, strict=True):
        assert job["status"] == "complete", job
        assert {entry["inputId"] for entry in record.manifest} == set(record.inputs)
        assert record.callbacks[-1]["status"] == "complete"
    assert sum(trouble.made.values()) > JOBS / 4
    for names in events(worker).values():
        assert "job_started" not in names[names.index("upload_started") :], names


def _all_told(record: Record) -> bool:
    return bool(record.callbacks) and len(record.manifest) >= len(record.inputs)


async def final(session: aiohttp.ClientSession, record: Record) -> dict[str, Any]:
    async with session.get(f"/v1/jobs/{record.worker_job_id}") as response:
        job: dict[str, Any] = await response.json()
        return job


async def killed(worker: Worker, records: list[Record], rng: Random) -> None:
    """SIGKILL, again and again, each time after some more jobs have ended."""
    for number in range(KILLS):
        ended = (number + 1) * JOBS // (KILLS + 2)
        await eventually(lambda ended=ended: sum(record.ended for record in records) >= ended, within_s=300)
        await asyncio.sleep(rng.uniform(0, 0.3))  # anywhere in what it is doing
        await asyncio.to_thread(worker.stop, signal.SIGKILL)
        await asyncio.to_thread(worker.start)


async def restarted(controller: Controller) -> None:
    """The controller goes away, and comes back."""
    await controller.stop()
    await asyncio.sleep(0.5)
    await controller.start()


async def test_a_restart_goes_on_with_the_delivery_and_not_with_the_work(tmp_path: Path) -> None:
    """A dead controller costs nothing but time: outputs that were taken are not pushed again."""
    async with controlling() as controller:
        worker = Worker(tmp_path, settings(controller)).start()
        taken: list[str] = []

        def second_output_fails(what: str, record: Record) -> None:
            if what == "output" and record.manifest:
                taken.append(record.job_id)
                raise FaultError(503)

        controller.faults = second_output_fails
        record = record_of(2)
        async with aiohttp.ClientSession(worker.url, headers=AUTH) as session:
            await dispatched(controller, session, record)
            await eventually(lambda: taken)
            await asyncio.to_thread(worker.stop, signal.SIGKILL)
            controller.faults = lambda *_: None
            await asyncio.to_thread(worker.start)
            job = await controller.poll(session, record)
        assert worker.stop() == 0
    assert (job["status"], job["attempt"]) == ("complete", 1)
    assert [entry["inputId"] for entry in record.manifest] == list(record.inputs)
    assert events(worker)[record.worker_job_id].count("job_started") == 1


async def test_a_restart_goes_on_with_the_downloads(tmp_path: Path) -> None:
    """Inputs that were fetched are not fetched again."""
    async with controlling() as controller:
        worker = Worker(tmp_path, settings(controller)).start()
        record = record_of(2)

        def the_last_hangs(what: str, _record: Record) -> None:
            if what == "input" and controller.requests["input"] == 3:
                raise FaultError("hang")

        controller.faults = the_last_hangs
        async with aiohttp.ClientSession(worker.url, headers=AUTH) as session:
            await dispatched(controller, session, record)
            folder = tmp_path / "data" / "jobs" / record.worker_job_id / "in"
            await eventually(lambda: sum(path.suffix != ".part" for path in folder.glob("*")) == 2)
            await asyncio.to_thread(worker.stop, signal.SIGKILL)
            await asyncio.to_thread(worker.start)
            assert (await controller.poll(session, record))["status"] == "complete"
        assert worker.stop() == 0
    assert controller.requests["input"] == 4


async def test_outputs_that_nobody_takes_are_kept(tmp_path: Path) -> None:
    """DELIVERY_FAILED in the job and in the callback; the files can still be fetched."""
    async with controlling() as controller:
        worker = Worker(tmp_path, {**settings(controller), "WORKER_DELIVERY_HOURS": "0.0002"}).start()

        def no_outputs(what: str, _record: Record) -> None:
            if what == "output":
                raise FaultError(503)

        controller.faults = no_outputs
        record = record_of(0)
        async with aiohttp.ClientSession(worker.url, headers=AUTH) as session:
            await dispatched(controller, session, record)
            job = await controller.poll(session, record)
            assert (job["status"], job["error"]["code"]) == ("failed", "DELIVERY_FAILED")
            async with session.get(job["outputs"][0]["url"]) as response:
                assert response.status == 200
                assert await response.read()
            await eventually(lambda: record.callbacks)
            assert record.callbacks[0]["error"]["code"] == "DELIVERY_FAILED"
        assert worker.stop() == 0
