"""An input by URL goes on from its own bytes over a restart of the worker, and only if it is still the same file."""

import asyncio
import hashlib
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.acceptance.conftest import Worker
from tests.acceptance.controller.controller import Controller, FaultError, Record, controlling, until
from tests.acceptance.controller.test_faults import AUTH, dispatched, settings

SIZE_BYTES = 8 * 2**20 + 1234
PATIENT = {"WORKER_KEEP_INPUTS": "true", "WORKER_DOWNLOAD_IDLE_SECONDS": "300"}


def a_file(seed: int) -> bytes:
    return random.Random(seed).randbytes(SIZE_BYTES)


def hangs(what: str, _record: Record) -> None:
    """The line is open, and the second half does not come."""
    if what == "middle":
        raise FaultError("hang")


@asynccontextmanager
async def half_fetched(
    folder: Path, controller: Controller
) -> AsyncIterator[tuple[Worker, aiohttp.ClientSession, Record]]:
    """A worker that has half of an input on its disk, and waits for the rest."""
    worker = Worker(folder, {**settings(controller), **PATIENT}).start()
    record = Record("job", {"a": ("talk.mp3", a_file(1))}, {"model": "fake"})
    controller.faults = hangs
    async with aiohttp.ClientSession(worker.url, headers=AUTH) as session:
        await dispatched(controller, session, record)
        part = folder / "data" / "jobs" / record.worker_job_id / "in" / "0.part"
        await until(lambda: part.exists() and part.stat().st_size >= SIZE_BYTES // 2 - 2 * 2**20)
        yield worker, session, record
    assert worker.stop() == 0


async def again(worker: Worker, controller: Controller, number: signal.Signals) -> None:
    """End the worker, and start it; the line is better now."""
    await asyncio.to_thread(worker.stop, number)
    controller.faults = lambda *_: None
    await asyncio.to_thread(worker.start)


def files_of(folder: Path, record: Record) -> set[str]:
    return {path.name for path in (folder / "data" / "jobs" / record.worker_job_id / "in").glob("*")}


async def check_whole(controller: Controller, session: aiohttp.ClientSession, record: Record, folder: Path) -> None:
    """The job is complete, and its input is what the controller has by now."""
    job = await controller.poll(session, record)
    content = record.inputs["a"][1]
    assert job["status"] == "complete", job
    assert job["inputs"][0]["sha256"] == hashlib.sha256(content).hexdigest()
    assert (folder / "data" / "jobs" / record.worker_job_id / "in" / "0").read_bytes() == content
    assert files_of(folder, record) == {"0"}


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_restart_goes_on_with_what_is_here(tmp_path: Path, number: signal.Signals) -> None:
    """Only the rest is asked for, and the whole has the right hash."""
    async with controlling() as controller, half_fetched(tmp_path, controller) as (worker, session, record):
        await again(worker, controller, number)
        await check_whole(controller, session, record, tmp_path)
        [asked] = controller.ranges
        assert int(asked.removeprefix("bytes=").removesuffix("-")) >= SIZE_BYTES // 2 - 2 * 2**20
        assert controller.requests["input"] == 2


@pytest.mark.parametrize("knows_if_range", [True, False])
async def test_the_rest_of_another_file_is_not_put_to_it(tmp_path: Path, *, knows_if_range: bool) -> None:
    """The file was replaced while the worker was away: all of the new one is fetched, also from a server that gives
    the rest of whatever it has."""
    async with (
        controlling(knows_if_range=knows_if_range) as controller,
        half_fetched(tmp_path, controller) as (worker, session, record),
    ):
        record.inputs["a"] = ("talk.mp3", a_file(2))
        controller.etag = '"2"'
        await again(worker, controller, signal.SIGKILL)
        await check_whole(controller, session, record, tmp_path)
        assert len(controller.ranges) == 1


async def test_a_file_that_shrank_is_fetched_anew(tmp_path: Path) -> None:
    """416 is no reason to ask for the same rest again and again."""
    async with controlling() as controller, half_fetched(tmp_path, controller) as (worker, session, record):
        record.inputs["a"] = ("talk.mp3", b"short")

        def no_such_range(what: str, _record: Record) -> None:
            if what == "input" and controller.requests["input"] == 2:
                raise FaultError(416)

        await asyncio.to_thread(worker.stop, signal.SIGKILL)
        controller.faults = no_such_range
        await asyncio.to_thread(worker.start)
        await check_whole(controller, session, record, tmp_path)


async def test_a_canceled_download_leaves_nothing(tmp_path: Path) -> None:
    """Also where inputs are kept: half of one is of no use."""
    async with controlling() as controller, half_fetched(tmp_path, controller) as (_, session, record):
        async with session.post(f"/v1/jobs/{record.worker_job_id}/cancel") as response:
            assert response.status == 200
        assert (await controller.poll(session, record))["status"] == "canceled"
        assert files_of(tmp_path, record) == set()
