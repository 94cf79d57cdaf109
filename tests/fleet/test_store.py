"""Large files of a fleet through an S3 store: by addresses that expire, without credentials, behind the same fence.

Every request's signature, in a header or in its address, is recomputed by the proxy in front (tests/buckets.py).
"""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from btworker.config import load_settings
from btworker.errors import StartupError
from btworker.fleet.front_end import FencedError
from btworker.fleet.leases import path_of
from btworker.jobs import JobStatus
from tests.buckets import SECRET, Asked, Storage, Trouble, cleared, storage
from tests.fleet.desk_of import SOUND, Desk, desk_of, inputs
from tests.fleet.fleet_of import running_fleet
from tests.fleet.line import line
from tests.process.pool_of import ended, submit
from tests.waiting import eventually

FOLDER = "s3://archive/results/fleet"
RESULT = json.dumps({"text": "words " * 20_000})


@pytest.fixture(scope="module")
def all_storage() -> Iterator[Storage]:
    with storage() as found:
        yield found


@pytest.fixture
def store(all_storage: Storage) -> Iterator[Storage]:
    with cleared(all_storage) as found:
        yield found


@pytest.fixture
async def desk(tmp_path: Path, store: Storage) -> AsyncIterator[Desk]:
    async with desk_of(tmp_path, stores_file=store.stores_file(tmp_path), fleet_store=FOLDER) as found:
        yield found


def by_boxes(store: Storage) -> list[tuple[str, str]]:
    """Method and path of each request that came by a presigned address."""
    return [(one.method, one.path.partition("?")[0]) for one in store.asked if "X-Amz-Signature=" in one.path]


def keys_of(store: Storage) -> list[str]:
    """Of all objects in the fleet's bucket."""
    return store.keys("results")


async def test_inputs_are_put_once_and_read_from_the_store(desk: Desk, store: Storage) -> None:
    """Two boxes read what the front end put once; what is small comes from the front end itself."""
    desk.front.reference(0, stored=True).write_text("{}")
    await desk.courier().fetch(inputs())
    await desk.courier().fetch(inputs())
    assert desk.box.input(0).read_bytes() == SOUND
    assert desk.box.reference(0, stored=True).read_text() == "{}"
    [key] = keys_of(store)
    assert key.startswith(f"fleet/{desk.job_id}/in/")
    assert store.get(key) == SOUND
    assert by_boxes(store) == [("GET", f"/results/{key}")] * 2
    assert sum(one.method == "PUT" for one in store.asked) == 1


async def test_an_input_from_the_store_goes_on_where_it_broke(desk: Desk, store: Storage) -> None:
    """The rest alone is asked for, with a new address where the first one is not taken any more."""
    store.trouble = Trouble(lambda asked: "X-Amz-Signature=" in asked.path, cut_after=900_000, times=1)
    await desk.courier().fetch(inputs())
    assert desk.box.input(0).read_bytes() == SOUND
    first, rest = (one.headers.get("range") for one in store.asked if "X-Amz-Signature=" in one.path)
    assert first is None
    assert rest is not None  # what was on its way when the line broke may be lost with it
    assert 0 < int(rest.removeprefix("bytes=").removesuffix("-")) <= 900_000
    store.trouble = Trouble(lambda asked: "X-Amz-Signature=" in asked.path, status=403, times=1)
    await desk.courier().fetch(inputs())
    assert desk.box.input(0).read_bytes() == SOUND


async def test_an_input_that_the_store_damaged_comes_from_the_front_end(desk: Desk, store: Storage) -> None:
    """What a box decodes is what the client sent, whoever had it between."""
    await desk.courier().fetch(inputs())
    [key] = keys_of(store)
    store.put(key, SOUND[:-1] + b"?", bucket="results")
    await desk.courier().fetch(inputs())
    assert desk.box.input(0).read_bytes() == SOUND


async def test_what_is_made_goes_through_the_store(desk: Desk, store: Storage) -> None:
    """Results and long pieces of windows are put under the attempt's number, taken in, and gone from the store then."""
    courier = await fetched(desk)
    desk.box.outputs.mkdir()
    desk.box.windows.mkdir()
    (desk.box.outputs / "naïve 🎧.json").write_text(RESULT)
    (desk.box.outputs / "talk.txt").write_text("short")
    desk.box.windows_of(0).write_text(f"{RESULT}\n")
    await courier.push_state()
    with desk.box.windows_of(0).open("a") as file:
        file.write(f"{RESULT}\n")
    await courier.push_state()
    await courier.publish_results()
    assert (desk.front.outputs / "naïve 🎧.json").read_text() == RESULT
    assert (desk.front.outputs / "talk.txt").read_text() == "short"
    assert desk.front.windows_of(0).read_text() == f"{RESULT}\n" * 2
    puts = [path for method, path in by_boxes(store) if method == "PUT"]
    assert len(set(puts)) == 3
    assert all(path.startswith(f"/results/fleet/{desk.job_id}/1/") for path in puts)
    assert all("/in/" in key for key in keys_of(store))


async def fetched(desk: Desk) -> Any:
    """A courier that has brought all that its attempt begins with."""
    courier = desk.courier()
    await courier.fetch(inputs())
    return courier


async def test_a_late_attempt_is_fenced_whatever_it_put(desk: Desk, store: Storage) -> None:
    """What a box put before its attempt was over is not taken in after it, and is deleted with the rest."""
    courier = await fetched(desk)
    desk.box.outputs.mkdir()
    (desk.box.outputs / "talk.json").write_text(RESULT)

    def end() -> None:
        desk.leases.revoke(desk.job_id, 1)

    store.trouble = Trouble(lambda asked: asked.method == "PUT", before=end, times=1)
    with pytest.raises(FencedError):
        await courier.publish_results()
    assert not desk.front.outputs.exists()
    assert not desk.front.unfinished_outputs.exists()
    assert any(f"{desk.job_id}/1/" in key for key in keys_of(store))
    await eventually(lambda: keys_of(store) == [], "nothing is left in the store")


async def test_what_an_earlier_run_left_is_deleted(tmp_path: Path, store: Storage) -> None:
    """At start, a copy in the fleet's folder is of no use; what is none of ours is not touched, wherever it lies."""
    ours, others = f"wk_0000000000000000/in/{'0' * 32}", ["fleet-2/x", "fleet/notes.txt", "fleet/wk_0/in/talk.wav"]
    for key in (f"fleet/{ours}", f"fleet-2/{ours}", *others):
        store.put(key, b"x", bucket="results")
    async with desk_of(tmp_path, stores_file=store.stores_file(tmp_path), fleet_store=FOLDER):
        await eventually(lambda: f"fleet/{ours}" not in keys_of(store), "it is deleted")
    assert set(keys_of(store)) == {f"fleet-2/{ours}", *others}


@pytest.mark.parametrize("whose", ["front end", "box"])
async def test_a_store_that_is_away_costs_nothing_but_its_use(desk: Desk, store: Storage, whose: str) -> None:
    """Where the front end, or a box, cannot reach it, files go as they do without one."""

    def is_met(asked: Asked) -> bool:
        return whose == "front end" or "X-Amz-Signature=" in asked.path

    store.trouble = Trouble(is_met, status=503)
    courier = desk.courier(store_patience_s=0.2)
    await courier.fetch(inputs())
    assert desk.box.input(0).read_bytes() == SOUND
    desk.box.outputs.mkdir()
    (desk.box.outputs / "talk.json").write_text(RESULT)
    await courier.publish_results()
    assert (desk.front.outputs / "talk.json").read_text() == RESULT


async def test_without_a_store_there_are_no_addresses(tmp_path: Path) -> None:
    """Who asks for one is told that there is none."""
    async with desk_of(tmp_path) as desk:
        assert await desk.status("POST", f"{path_of(desk.job_id, 1)}/files/out/talk.json") == 404


@pytest.mark.parametrize(
    ("folder", "complaint"),
    [
        ("s3://other/results", "is not in WORKER_STORES_FILE"),
        ("results/fleet", "must be like s3://store/bucket/folder"),
    ],
)
def test_a_wrong_store_is_said_at_start(tmp_path: Path, store: Storage, folder: str, complaint: str) -> None:
    """By the name of the setting, and what it has to be."""
    with pytest.raises(StartupError, match=complaint):
        load_settings(token="a-token", stores_file=store.stores_file(tmp_path), fleet_store=folder)


@pytest.mark.sliced("fleet", 1)
async def test_jobs_through_the_store(tmp_path: Path, store: Storage, capsys: pytest.CaptureFixture[str]) -> None:
    """Real boxes: inputs and results go through the store and not over the front end's line; no secret and no address
    is in a log or on a box; nothing is left in the store once the jobs have ended."""
    stores = store.stores_file(tmp_path)
    async with (
        line() as slow,
        running_fleet(tmp_path, "one", line=slow, stores_file=stores, fleet_store=FOLDER) as fleet,
    ):
        jobs = [await submit(fleet.service, ["windows", 2], ["spill", 1], text="sound\n" * 20_000) for _ in range(3)]
        for job in jobs:
            done = await ended(fleet.service, job)
            assert done.status is JobStatus.COMPLETE, done.error
            [output] = done.outputs
            assert (fleet.service.data.folder(job.id).outputs / output.filename).stat().st_size == output.size_bytes
        assert not [what for what in slow.asked if what.startswith("GET") and "/files/in/" in what]
        assert {method for method, _ in by_boxes(store)} == {"GET", "PUT"}
        await eventually(lambda: keys_of(store) == [], "nothing is left in the store")
        logged = fleet.log("one") + capsys.readouterr().out
    kept = [path for path in (tmp_path / "cluster").rglob("*") if path.is_file()]
    assert not any(SECRET.encode() in path.read_bytes() for path in kept)
    assert SECRET not in logged
    assert "X-Amz" not in logged
