"""The same on a real cluster of Ray's, with token authentication: boxes on this machine, a worker in front of them, and
the death of each kind of process under load. `make test-fleet` runs this; `make full` with 500 deaths."""

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from btworker import __version__
from tests.fleet.ray_world import WINDOWS, World, on_box, ray_world, script, until
from tests.process.server_of import ROOT
from tests.slices import FULL, luck_of, slice_of

pytestmark = [pytest.mark.ray, pytest.mark.timeout(21600)]
KINDS = ("child", "box", "actor", "raylet", "gateway", "front", "head")
KILLS = int(os.environ.get("BTWORKER_FLEET_KILLS", "500"))
"""Under BTWORKER_FULL=1, which may be asked for in pieces; else some of the kinds, once each."""
NAMES = ("one", "two", "three") if FULL else ("one", "two")
"""The boxes; the first one is the head."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Boxes that are ready."""
    with ray_world(tmp_path_factory.mktemp("fleet"), *NAMES, WORKER_MAX_ATTEMPTS="10") as found:
        yield found


def test_each_box_does_its_share(world: World) -> None:
    """Jobs go to the emptiest box, their log names it, and the front end imports no Ray."""
    jobs = [world.server.submit(["windows", 1], ["sleep", 2]) for _ in range(2 * len(NAMES))]
    assert Counter(box for job_id in jobs for box in on_box(world.done(job_id))) == dict.fromkeys(NAMES, 2)
    maps = Path(f"/proc/{world.server.process.pid}/maps").read_text()
    assert "_raylet" not in maps
    ping = world.server.request("GET", "/v1/ping")[1]
    assert ping["maxConcurrentJobs"] == len(NAMES)


def test_a_box_of_another_release_takes_no_jobs(world: World, tmp_path: Path) -> None:
    """It says so in one sentence, while the others work; with the same release it is used."""
    (tmp_path / "sitecustomize.py").write_text("import btworker\nbtworker.__version__ = '9.9.9'\n")
    world.cluster.start("odd", PYTHONPATH=f"{tmp_path}:{ROOT}")
    sentence = f"the box odd takes no jobs: it has btworker 9.9.9, and the front end {__version__}"
    until(lambda: world.boxes().get("odd", {}).get("problem", "").startswith(sentence), "the odd box was refused")
    assert world.boxes()["odd"]["status"] == "refused"
    assert on_box(world.done(world.server.submit(["windows", 1])))[0] in NAMES
    world.cluster.kill("odd")
    world.cluster.own["odd"] = {}
    world.cluster.start("odd")
    world.until_ready("odd")
    world.cluster.kill("odd")
    del world.cluster.units["odd"], world.cluster.own["odd"]


def test_no_job_is_lost(world: World) -> None:
    """Under load, whatever is killed, two at once: each job is complete, and its windows are there once, in order,
    whichever boxes did them."""
    luck = luck_of("fleet kills")
    kinds = slice_of([KINDS[number % len(KINDS)] for number in range(KILLS if FULL else len(KINDS))], 3, "fleet kills")
    luck.shuffle(kinds)
    jobs: list[str] = []
    deaths = moves = 0
    for pair in (kinds[first : first + 2] for first in range(0, len(kinds), 2)):
        began = time.monotonic()
        world.until_ready(luck.choice(NAMES))
        ready_s = time.monotonic() - began
        jobs += [world.server.submit(*script(0.2)) for _ in range(3)]
        until(partial(world.has_windows, jobs[-3], 2), f"windows before {pair}")
        deaths += sum(world.kill(kind, luck.choice(NAMES)) for kind in pair)
        print(f"{time.strftime('%X')} killed: {', '.join(pair)}; a box was ready after {ready_s:.1f} s")
    for job_id in jobs:
        job = world.done(job_id)
        moves += len(set(on_box(job))) > 1
        transcript = json.loads(world.server.output(job_id, job["outputs"][0]["filename"]))
        assert [window["index"] for window in transcript["windows"]] == list(range(WINDOWS)), job["logs"]
    print(f"{deaths} deaths, {len(jobs)} jobs, {moves} of them on more than one box")
    world.until_ready(*NAMES)
    assert all(box["jobs"] == 0 for box in world.boxes().values())
    folders = [world.cluster.folder / name / "boxes" / name / "jobs" for name in NAMES]
    until(lambda: not any(path for folder in folders for path in folder.iterdir()), "nothing of a job is left on a box")
