"""A long recording that several boxes decode together: the same text, whatever befalls them. The engine is scripted
(tests/fake_shares.py) but for one test; the folder that children share, boxes, front end and lines are real."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from btworker.jobs import Job, JobStatus
from btworker.service import JobService
from tests.acceptance.places import MODEL
from tests.demo_worker import DEMO_WORKER
from tests.fake_shares import expected
from tests.fleet.fleet_of import Fleet, running_fleet
from tests.fleet.line import line
from tests.fleet.long_recording import speech, spoken
from tests.process.pool_of import ended, submit, transcript
from tests.waiting import eventually

pytestmark = pytest.mark.sliced("fleet", 1)
PARTS = 8
NEVER_S = 3600.0
"""For a part that is done once all parts behind it are."""
ONE_EACH = {"WORKER_MAX_CONCURRENT_JOBS": "1"}


def shares(fleet: Fleet) -> list[Any]:
    """What the front end knows of the recordings that are shared."""
    return list(fleet.pool._helpers._sharing._shares.values())


def helped(fleet: Fleet) -> dict[str, str]:
    """The boxes that help, each with the job."""
    return {one.box: one.key[0] for one in fleet.pool._helpers._sharing._helps.values()}


def taken(fleet: Fleet) -> list[int]:
    """Parts that a helper has."""
    found = (share.parts.items() for share in shares(fleet))
    return [number for parts in found for number, part in parts if part.helper and part.texts is None]


def has_part(fleet: Fleet) -> bool:
    """Whether a helper has a part."""
    return any(part.helper for share in shares(fleet) for part in share.parts.values())


async def done(service: JobService, job: Job) -> Any:
    """The transcript of the job, which is complete."""
    job = await ended(service, job)
    assert job.status is JobStatus.COMPLETE, job.error
    return transcript(service, job)


def texts(found: Any) -> list[str]:
    """What the windows of a transcript say."""
    return [segment["text"] for segment in found["segments"]]


async def nothing_is_left(fleet: Fleet, *boxes: str) -> None:
    """No file of a job on a box, nothing shared in the front end."""

    def left() -> list[object]:
        shared = fleet.service.data.jobs.glob("*/shares")
        return [*(name for box in boxes for name in fleet.on_disk(box)), *shares(fleet), *helped(fleet), *shared]

    await eventually(lambda: not left() or print(left()), "nothing is left")


async def test_an_idle_box_helps_with_a_long_recording(tmp_path: Path) -> None:
    """All that its own box has not begun is decoded by the other one, and the text is that of one box; nothing of it
    stays anywhere. A job of its own comes first, and the rest of the recording goes on without that box."""
    hold = tmp_path / "hold"
    async with running_fleet(tmp_path, "one", "two", box=ONE_EACH) as fleet:
        job = await submit(fleet.service, ["share", PARTS, NEVER_S, str(hold)])
        found = await done(fleet.service, job)
        assert texts(found) == expected(PARTS, tmp_path / "expected")
        assert len(found["helpers"]) == PARTS - 1, "the box that has it keeps the first part"
        assert len(set(found["helpers"])) == 1
        lines = [line.message for line in (await fleet.service.get(job.id)).logs]
        assert sum(line in ("the box one helps", "the box two helps") for line in lines) == 1
        await nothing_is_left(fleet, "one", "two")

        hold.touch()
        job = await submit(fleet.service, ["share", PARTS, 0, str(hold)])
        await eventually(lambda: has_part(fleet), "a part is on the other box")
        helper = next(iter(helped(fleet)))
        short = await submit(fleet.service)
        await done(fleet.service, short)
        assert any(f"runs on the box {helper}" in line.message for line in (await fleet.service.get(short.id)).logs)
        assert (await fleet.service.get(job.id)).status is JobStatus.RUNNING
        await fleet.pool.answer({"action": "drain", "box": helper})  # it gets nothing more to do
        await eventually(lambda: not helped(fleet), "nobody helps")
        hold.unlink()
        found = await done(fleet.service, job)
        assert texts(found) == expected(PARTS, tmp_path / "expected")
        assert not found["helpers"]
        await nothing_is_left(fleet, "one", "two")


async def test_a_box_that_dies_leaves_its_parts_to_others(tmp_path: Path) -> None:
    """A helper that is killed, or cut off, with parts in it: the box that has the recording decodes them, in the same
    attempt. Where that box is killed, the job goes on elsewhere, from its last window."""
    hold = tmp_path / "hold"
    async with running_fleet(tmp_path, "one", "two", box=ONE_EACH, fleet_silence_s=5) as fleet:
        for number in (signal.SIGKILL, signal.SIGSTOP):
            hold.touch()
            job = await submit(fleet.service, ["share", PARTS, 0, str(hold)])
            await eventually(lambda: has_part(fleet), "a part is on the other box")
            helper = next(iter(helped(fleet)))
            fleet.kill(helper, number)
            hold.unlink()
            found = await done(fleet.service, job)
            assert texts(found) == expected(PARTS, tmp_path / "expected")
            assert found["attempt"] == 1
            if number == signal.SIGSTOP:
                fleet.kill(helper, signal.SIGCONT)
            await fleet.until_ready("one", "two")

        hold.touch()
        job = await submit(fleet.service, ["share", PARTS, 0, str(hold)])
        await eventually(lambda: has_part(fleet), "a part is on the other box")
        fleet.kill(fleet.box_of(job.id))
        hold.unlink()
        found = await done(fleet.service, job)
        assert texts(found) == expected(PARTS, tmp_path / "expected")
        assert found["attempt"] == 2
        await fleet.until_ready("one", "two")
        await nothing_is_left(fleet, "one", "two")


async def test_an_answer_that_was_lost_ends_no_help(tmp_path: Path) -> None:
    """The texts of a part are there, and the box that brought them does not know: it is refused when it brings them
    again, and helps with the rest all the same."""
    hold = tmp_path / "hold"
    async with line() as bad, running_fleet(tmp_path, "one", "two", box=ONE_EACH, line=bad) as fleet:
        bad.lose_answer(lambda what: what.startswith("PUT") and "/helps/" in what)
        job = await submit(fleet.service, ["share", PARTS, NEVER_S, str(hold)])
        found = await done(fleet.service, job)
        assert texts(found) == expected(PARTS, tmp_path / "expected")
        assert len(found["helpers"]) == PARTS - 1, "the box that has it keeps the first part"
        brought = [what.partition("/files/")[2] for what in bad.asked if what.startswith("PUT") and "/helps/" in what]
        assert len(brought) > len(set(brought)), "none was brought twice"
        await nothing_is_left(fleet, "one", "two")


async def test_what_a_job_waits_for_goes_first(tmp_path: Path) -> None:
    """While a box waits for the input of a job of its own, it fetches no more parts, though its children are done with
    those that they have; once the job is through, it helps again."""
    hold = tmp_path / "hold"
    hold.touch()
    async with line() as slow, running_fleet(tmp_path, "one", "two", box=ONE_EACH, line=slow) as fleet:
        job = await submit(fleet.service, ["share", PARTS, NEVER_S, str(hold)])
        await eventually(lambda: len(taken(fleet)) == 2, "the other box has a part at work, and one more")
        helper = next(iter(helped(fleet)))
        slow.hold(lambda what: "/files/in/0" in what)
        short = await submit(fleet.service)
        await eventually(lambda: any(f"{short.id}/attempts/1/files/in/0" in what for what in slow.asked))
        assert fleet.box_of(short.id) == helper
        hold.unlink()
        await eventually(lambda: not taken(fleet), "both are decoded")
        asked = len(slow.asked)

        def since(what: str) -> int:
            return sum(what in one for one in slow.asked[asked:])

        await eventually(lambda: any(one.startswith("GET") and "/helps/" in one for one in slow.asked[asked:]))
        assert not since("/parts")
        slow.hold(lambda _: False)
        await done(fleet.service, short)
        found = await done(fleet.service, job)
        assert texts(found) == expected(PARTS, tmp_path / "expected")
        assert since("/parts")


@pytest.mark.full
@pytest.mark.speech
@pytest.mark.timeout(600)
async def test_the_transcript_is_that_of_one_box(tmp_path: Path) -> None:
    """By the real engine: with a box more, some of the windows are decoded there, and every segment and word is the
    same."""
    box = {**DEMO_WORKER, **ONE_EACH, "WORKER_SPREAD_MINUTES": "1", "WORKER_BATCH_SIZE": "1", "WORKER_CPU_THREADS": "1"}
    sound = speech(tmp_path)
    async with running_fleet(tmp_path, "one", box=box, model="demo", models=f"demo={MODEL}") as fleet:
        job = await submit(fleet.service, text=sound, decode="fast")
        alone = spoken(await done(fleet.service, job))
        fleet.add_box("two", **box)
        await fleet.until_ready("two")
        job = await submit(fleet.service, text=sound, decode="fast")
        assert spoken(await done(fleet.service, job)) == alone
        owner, helper = ("one", "two") if "help_started" in fleet.log("two") else ("two", "one")
        helped_with = [json.loads(line) for line in fleet.log(helper).splitlines() if '"texts_returned"' in line]
        assert helped_with and "help_started" not in fleet.log(owner), "it was no help"
        await nothing_is_left(fleet, "one", "two")
