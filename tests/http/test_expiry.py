"""R29: a clock that jumps, or is wrong at the start, costs no result and no upload."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from btworker.config import Settings
from btworker.jobs import JobId, JobStatus
from btworker.service import JobService
from btworker.service.expiry import START_DELAY_S, STEADY_S, STEP_S, Expiry, uptime
from btworker.storage import DataFolder
from btworker.store import Store
from tests.http.pools import LocalPool
from tests.http.server import until
from tests.unit.test_jobs import a_job

HOUR_S = 3600.0
NOW = 1_800_000_000.0


@dataclass
class Clocks:
    """A wall clock that can be set, and an uptime that only goes on."""

    wall_s: float = NOW
    up_s: float = 500.0

    def go_on(self, seconds: float) -> None:
        """Time passes."""
        self.wall_s += seconds
        self.up_s += seconds

    def expiry(self) -> Expiry:
        return Expiry(clock=lambda: self.wall_s, steady=lambda: self.up_s)


@pytest.mark.parametrize("step_s", [STEP_S, -STEP_S, 1e9])
def test_a_step_stops_expiry_for_a_day(step_s: float) -> None:
    """In either direction; a day without another one ends it."""
    clocks = Clocks()
    expiry = clocks.expiry()
    assert expiry.allowed()
    clocks.wall_s += step_s
    assert not expiry.allowed()
    clocks.go_on(STEADY_S - 1)
    assert not expiry.allowed()
    clocks.go_on(1)
    assert expiry.allowed()
    clocks.wall_s -= step_s
    assert not expiry.allowed(), "back again is another one"


def test_steps_that_come_bit_by_bit_add_up() -> None:
    """What is corrected by minutes again and again is wrong by hours in the end; a drift of seconds is not."""
    clocks = Clocks()
    expiry = clocks.expiry()
    for _ in range(int(STEP_S / 600) - 1):
        clocks.wall_s += 600
        clocks.go_on(600)
        assert expiry.allowed()
    clocks.wall_s += 600
    assert not expiry.allowed()


@pytest.mark.parametrize(
    ("newest_ago_h", "held"), [(None, False), (-1.0, True), (-0.01, False), (0.0, False), (71.0, False), (73.0, True)]
)
def test_a_start_compares_the_clock_with_the_newest_job(newest_ago_h: float | None, *, held: bool) -> None:
    """One from the future, or all of them expired: an hour's wait, in which the network may set the clock."""
    clocks = Clocks()
    expiry = clocks.expiry()
    expiry.look_at(None if newest_ago_h is None else NOW - newest_ago_h * HOUR_S, kept_s=72 * HOUR_S)
    assert expiry.allowed() is not held
    clocks.go_on(START_DELAY_S)
    assert expiry.allowed()


def test_the_uptime_goes_on() -> None:
    """It is a clock that nobody sets, in seconds."""
    before = uptime()
    assert 0 < before <= uptime() < before + 60


@asynccontextmanager
async def at_work(settings: Settings, clocks: Clocks) -> AsyncIterator[JobService]:
    """A service by these clocks."""
    data = DataFolder.open(settings.data_dir)
    store = Store.open(data.database)
    service = JobService(
        settings=settings,
        store=store,
        pool=LocalPool(),
        data=data,
        clock=lambda: clocks.wall_s,
        steady=lambda: clocks.up_s,
    )
    await service.start()
    try:
        yield service
    finally:
        await service.stop()
        await store.close()
        data.close()


async def a_result(settings: Settings, *, finished_at: float) -> JobId:
    """A complete job in the data folder, with a result."""
    data = DataFolder.open(settings.data_dir)
    store = Store.open(data.database)
    job, _ = await store.insert(a_job(created_at=finished_at))
    ended = job.evolve(status=JobStatus.RUNNING).evolve(status=JobStatus.COMPLETE, finished_at=finished_at)
    assert await store.finish(ended, was=JobStatus.QUEUED)
    data.folder(job.id).outputs.mkdir(parents=True)
    (data.folder(job.id).outputs / "talk.json").write_text("words")
    await store.close()
    data.close()
    return job.id


async def looks(times: int = 3) -> None:
    """Let the service look for what has expired, a few times."""
    for _ in range(times):
        await asyncio.sleep(0.05)


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("btworker.service.retention.INTERVAL_S", 0.01)
    monkeypatch.setattr("btworker.service.resumable.SWEEP_S", 0.01)


async def test_results_and_uploads_survive_a_step_of_the_clock(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """A year forward while the worker runs: both are there a day later; then what is old by the steady clock goes."""
    clocks = Clocks()
    job_id = await a_result(settings, finished_at=NOW - HOUR_S)
    async with at_work(settings, clocks) as service:
        upload = await service.resumable.create(length=10, metadata="")
        clocks.wall_s += 365 * 24 * HOUR_S
        await looks()
        clocks.go_on(23 * HOUR_S)
        await looks()
        assert (await service.get(job_id)).id == job_id and service.resumable.get(upload.id)
        assert service.data.folder(job_id).has_results()
        [held] = [line for line in capsys.readouterr().out.splitlines() if "expiry_held" in line]
        assert "+8760.0 h" in json.loads(held)["message"]
        clocks.go_on(2 * HOUR_S)
        await until(lambda: not service.data.folder(job_id).path.exists())


@pytest.mark.parametrize("finished_h", [-100.0, 5.0])
async def test_results_survive_a_start_with_a_wrong_clock(settings: Settings, finished_h: float) -> None:
    """All of them look expired, or one is in the future, which makes the ages of all others doubtful."""
    clocks = Clocks()
    old = await a_result(settings, finished_at=NOW - 100 * HOUR_S)
    newest = await a_result(settings, finished_at=NOW + finished_h * HOUR_S)
    async with at_work(settings, clocks) as service:
        await looks()
        clocks.go_on(HOUR_S - 1)
        await looks()
        assert (await service.get(old)).id == old and (await service.get(newest)).id == newest
        clocks.go_on(1)
        await until(lambda: not service.data.folder(old).path.exists())


async def test_a_right_clock_delays_nothing(settings: Settings) -> None:
    """What is older than the retention goes at once, where younger jobs say that the clock is right."""
    clocks = Clocks()
    old = await a_result(settings, finished_at=NOW - 100 * HOUR_S)
    young = await a_result(settings, finished_at=NOW - HOUR_S)
    async with at_work(settings, clocks) as service:
        await until(lambda: not service.data.folder(old).path.exists())
        assert (await service.get(young)).id == young
