"""A long recording that two boxes of Ray's decode together, by the real engine: `make test-fleet` runs this."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.demo_worker import DEMO_WORKER
from tests.fleet.long_recording import speech, spoken
from tests.fleet.ray_world import World, on_box, ray_world, until

pytestmark = [pytest.mark.ray, pytest.mark.full, pytest.mark.timeout(600)]
NAMES = ("one", "two")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two boxes with the embedded model, a job each at most, which decode window by window."""
    window_by_window = {"WORKER_SPREAD_MINUTES": "1", "WORKER_BATCH_SIZE": "1", "WORKER_CPU_THREADS": "1"}
    all_have = {**DEMO_WORKER, **window_by_window, "WORKER_MAX_CONCURRENT_JOBS": "1"}
    with ray_world(tmp_path_factory.mktemp("sharing"), *NAMES, all_have=all_have) as found:
        yield found


def test_the_transcript_is_that_of_one_box(world: World, tmp_path: Path) -> None:
    """With a second box that helps, and with one that is killed while it does, each segment and word is that of one
    box alone, in the first attempt; nothing of the recording is left on a box, or shared."""
    sound = speech(tmp_path)
    world.fleet("drain", "two")
    alone = world.server.upload("long.opus", sound, decode="fast")
    expected = spoken(world.transcript(alone))
    assert (on_box(world.done(alone)), helpers(world, alone)) == (["one"], [])
    world.fleet("resume", "two")

    helped = world.server.upload("long.opus", sound, decode="fast")
    assert spoken(world.transcript(helped)) == expected
    assert {*on_box(world.done(helped)), *helpers(world, helped)} == set(NAMES)
    assert returned(world, helped), "it was no help"

    disturbed = world.server.upload("long.opus", sound, decode="fast")
    helper = until(lambda: at_work(world, disturbed), "the other box has a part")
    assert world.kill("box", helper) and not returned(world, disturbed)
    assert spoken(world.transcript(disturbed)) == expected
    assert helpers(world, disturbed) == [helper], "also once it is back"
    assert {*on_box(world.done(disturbed)), helper} == set(NAMES), "the job stayed where it was"
    world.until_ready(*NAMES)
    until(lambda: not left(world), "nothing is left")


def helpers(world: World, job_id: str) -> list[str]:
    """The boxes that helped with the job, as its log has them."""
    lines = [line["message"] for line in world.server.job(job_id)["logs"]]
    return [line.split()[2] for line in lines if line.startswith("the box ") and line.endswith(" helps")]


def at_work(world: World, job_id: str) -> str:
    """The box that has the sound of a part of the job's recording; empty where none has."""
    found = (name for name in NAMES if [*_jobs(world, name).glob(f"{job_id}.help-*/shares/*/*.here")])
    return next(found, "")


def returned(world: World, job_id: str) -> int:
    """How many parts a helper has decoded, as the logs of boxes have it, which Ray keeps."""
    logs = (path.read_text() for path in (world.cluster.ray_folder / "session_latest" / "logs").glob("worker-*"))
    return sum('"texts_returned"' in line and job_id in line for text in logs for line in text.splitlines())


def left(world: World) -> list[Path]:
    """Files of jobs on boxes, and what the front end has of recordings that are shared."""
    shares = (world.server.folder / "data" / "jobs").glob("*/shares")
    return [*(path for name in NAMES for path in _jobs(world, name).iterdir()), *shares]


def _jobs(world: World, name: str) -> Path:
    """The folder of jobs on a box."""
    return world.cluster.folder / name / "boxes" / name / "jobs"
