"""Inputs that a box fetches for jobs that wait: they come beside work, give way, and go with their lease."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from btworker.fleet.box_prefetch import BoxPrefetches
from btworker.fleet.courier import Courier
from btworker.fleet.front_end import FrontEnd
from btworker.fleet.leases import PREFETCHES, path_of
from btworker.fleet.records import Prefetch
from btworker.job_folder import JobFolder
from tests.fleet.desk_of import SOUND, Desk, desk_of, inputs
from tests.fleet.line import line
from tests.waiting import eventually


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk_of(tmp_path) as found:
        yield found


def prefetches(desk: Desk, **changes: int) -> BoxPrefetches:
    """A box that asks every few milliseconds whether its leases count."""
    desk.box.path.parent.mkdir(exist_ok=True)
    settings = desk.settings.model_copy(update={"tmp_dir": desk.settings.data_dir, **changes})
    return BoxPrefetches(settings, desk.box.path.parent, lease_s=0.02)


async def begun(desk: Desk, box: BoxPrefetches) -> Path:
    """Where the box fetches the job's input to."""
    number, ticket = desk.leases.begin_prefetch(desk.job_id)
    order = Prefetch(1, desk.job_id, number, inputs(), ticket)
    await box.begin(order, session=desk.session, address=desk.url, at_work=())
    return desk.box.path.parent / f"{desk.job_id}.next-{number}" / "in" / "0"


def is_whole(path: Path) -> bool:
    return path.exists() and path.read_bytes() == SOUND


async def test_a_prefetch_brings_inputs_and_goes_with_its_lease(desk: Desk) -> None:
    """The inputs of a job that waits are there before it starts; once it is to start elsewhere, nothing is left."""
    box = prefetches(desk)
    copy = await begun(desk, box)
    await eventually(lambda: is_whole(copy), "the input comes")
    desk.leases.end_prefetch(desk.job_id)
    await eventually(lambda: not copy.parent.parent.exists(), "it goes")
    assert box.take(desk.job_id) is None
    copy = await begun(desk, box)
    await eventually(lambda: is_whole(copy), "it comes again")
    await box.drop(desk.job_id)
    assert not copy.parent.parent.exists()


async def test_an_attempt_takes_over_what_was_fetched_before_it(desk: Desk) -> None:
    """It asks for nothing that is here, also where that came only after it began."""
    box = prefetches(desk)
    copy = await begun(desk, box)
    taken = box.take(desk.job_id)
    assert taken is not None
    with box.giving_way():
        courier = Courier(
            FrontEnd(desk.session, desk.url + path_of(desk.job_id, 1), desk.ticket), JobFolder(taken.folder)
        )
        courier.inputs = await taken.complete()
    assert is_whole(copy)
    desk.front.input(0).unlink()
    desk.front.windows.mkdir()
    desk.front.windows_of(0).write_text("one\n")
    await courier.fetch(inputs())
    assert JobFolder(taken.folder).windows_of(0).read_text() == "one\n"
    await taken.drop()


async def test_a_prefetch_gives_way(desk: Desk) -> None:
    """While an attempt waits for its own inputs nothing more of a prefetch comes; then it comes to its end."""
    box = prefetches(desk)
    with box.giving_way():
        copy = await begun(desk, box)
        await eventually(lambda: copy.exists() and copy.stat().st_size > 0, "it has begun")
        size_bytes = copy.stat().st_size
        for _ in range(20):
            assert await desk.status("GET", path_of(desk.job_id, 1)) == 204
        assert copy.stat().st_size == size_bytes < len(SOUND)
    await eventually(lambda: is_whole(copy), "the rest comes")
    await box.drop_all()


async def test_a_full_disk_keeps_prefetches_away(desk: Desk) -> None:
    """What jobs at work may need is not given to one that waits."""
    box = prefetches(desk, disk_reserve_mb=2**30)
    await begun(desk, box)
    assert box.take(desk.job_id) is None


async def test_a_prefetch_reads_inputs_and_nothing_else(desk: Desk) -> None:
    """Its ticket opens no windows, takes no writes and is none of an attempt's; the next one's ends it."""
    desk.front.windows.mkdir()
    desk.front.windows_of(0).write_text("one\n")
    number, ticket = desk.leases.begin_prefetch(desk.job_id)
    path = path_of(desk.job_id, number, PREFETCHES)
    async with desk.session.get(f"{desk.url}{path}/files", headers={"Authorization": f"Bearer {ticket}"}) as answer:
        assert [file["name"] for file in (await answer.json())["files"]] == ["in/0"]
    assert await desk.status("GET", f"{path}/files/in/0", ticket) == 200
    assert await desk.status("GET", f"{path}/files/windows/0.jsonl", ticket) == 404
    assert await desk.status("PUT", f"{path}/files/out/talk.json", ticket, data=b"{}") == 405
    assert await desk.status("GET", f"{path_of(desk.job_id, 1)}/files", ticket) == 401
    assert await desk.status("GET", f"{path}/files") == 401
    desk.leases.begin_prefetch(desk.job_id)
    assert await desk.status("GET", f"{path}/files", ticket) == 410
    desk.leases.revoke(desk.job_id, 1)
    assert not desk.leases._prefetches


async def test_a_ticket_is_renewed_while_inputs_come(desk: Desk) -> None:
    """A line on which an input takes longer than a ticket is good for: what breaks off goes on with a newer one."""
    desk.leases._tickets._lifetime_s = 2.0
    desk.ticket = desk.leases.ticket(desk.job_id, 1)
    async with line() as slow:
        slow.port = int(desk.url.rpartition(":")[2])
        slow.hold(lambda what: "/files/in/" in what)
        courier = Courier(FrontEnd(desk.session, slow.url + path_of(desk.job_id, 1), desk.ticket), desk.box)
        holding = asyncio.create_task(courier.hold(0.05))
        fetching = asyncio.create_task(courier.fetch(inputs()))

        async def has_expired() -> bool:
            return await desk.status("GET", path_of(desk.job_id, 1)) == 401

        await eventually(lambda: any("/files/in/" in what for what in slow.asked), "it is asked for")
        await eventually(has_expired, "the first ticket expires")
        slow.cut()
        await fetching
        holding.cancel()
    assert is_whole(desk.box.input(0))
