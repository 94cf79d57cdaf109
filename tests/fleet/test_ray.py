"""The same on a real cluster of Ray's, with token authentication: boxes on this machine, a worker in front of them, and
the death of each kind of process under load. Each box is in a network namespace where root runs this, beside the first
one, which is the head. `make test-fleet` runs this; `make full` with 500 deaths."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from btworker import __version__
from tests.fleet.namespaces import networks_of
from tests.fleet.ray_world import WINDOWS, World, on_box, processes, ray_world, script, until
from tests.process.server_of import ROOT, TOKEN, Server, plain_environment
from tests.slices import FULL, luck_of, slice_of

pytestmark = [pytest.mark.ray, pytest.mark.timeout(21600)]
KINDS = ("child", "box", "actor", "raylet", "gateway", "front", "gcs", "head")
"""Of deaths; that of a head is its whole machine's, that of a GCS lets Ray end the rest."""
KILLS = int(os.environ.get("BTWORKER_FLEET_KILLS", "500"))
"""Under BTWORKER_FULL=1, which may be asked for in pieces; else some of the kinds, once each."""
NAMES = ("one", "two", "three") if FULL else ("one", "two")
"""The boxes; the first one is the head."""
RECONNECT_S = luck_of("fleet reconnect").choice((3, 10))
"""Seconds after which boxes follow their head: before it can be up again, or, as docs/fleet.md has it, maybe after."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Boxes that are ready."""
    folder, given = tmp_path_factory.mktemp("fleet"), {"WORKER_MAX_ATTEMPTS": "10"}
    with (
        networks_of(*NAMES) as networks,
        ray_world(folder, *NAMES, networks=networks, reconnect_s=RECONNECT_S, **given) as found,
    ):
        yield found


def test_each_box_does_its_share(world: World) -> None:
    """Jobs go to the emptiest box, their log names it, and the front end imports no Ray; children have the priority
    that they would have without Ray."""
    jobs = [world.server.submit(["windows", 1], ["sleep", 2]) for _ in range(2 * len(NAMES))]
    assert Counter(box for job_id in jobs for box in on_box(world.done(job_id))) == dict.fromkeys(NAMES, 2)
    maps = Path(f"/proc/{world.server.process.pid}/maps").read_text()
    assert "_raylet" not in maps
    children = [pid for name in NAMES for pid in processes(world.cluster, name, "child")]
    assert {os.getpriority(os.PRIO_PROCESS, pid) for pid in children} == {os.getpriority(os.PRIO_PROCESS, 0)}
    ping = world.server.request("GET", "/v1/ping")[1]
    assert ping["maxConcurrentJobs"] == len(NAMES)


def test_a_wrong_token_is_a_wrong_token(world: World, tmp_path: Path) -> None:
    """The cluster runs, and lets nobody in without its token: the worker and the doctor name the token, and neither
    prints one."""
    wrong = {**world.server.settings, "RAY_AUTH_TOKEN": "another-token-than-the-cluster's"}
    server = Server(tmp_path, wrong).start()
    try:
        warns = partial(server.request, "GET", "/v1/ping")
        until(lambda: "has the worker its token (RAY_AUTH_MODE=token" in str(warns()[1]["warnings"]), "ping says so")
    finally:
        server.stop()
    command = [sys.executable, "-m", "btworker", "doctor", "--json"]
    asked = {given["RAY_AUTH_TOKEN"]: _doctor(command, given) for given in (wrong, world.server.settings)}
    ((_, refused), (_, let_in)) = asked.items()
    assert (refused["verdict"], let_in["verdict"]) == ("fail", "ok")
    assert refused["found"].endswith("it wants another token") and "RAY_AUTH_TOKEN" in refused["mend"]
    assert not any(token in str(asked.values()) + server.log.read_text() for token in asked)


def _doctor(command: list[str], given: Mapping[str, str]) -> Any:
    """What it says of Ray."""
    environment = plain_environment(WORKER_TOKEN=TOKEN, **given)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    return next(check for check in json.loads(done.stdout) if check["check"] == "Ray")


def test_a_box_of_another_release_takes_no_jobs(world: World, tmp_path: Path) -> None:
    """It says so in one sentence, while the others work, and so does one with a wrong setting; with the same release,
    and the right one, it is used."""
    (tmp_path / "sitecustomize.py").write_text("import btworker\nbtworker.__version__ = '9.9.9'\n")
    world.cluster.start("odd", PYTHONPATH=f"{tmp_path}:{ROOT}")
    sentence = f"the box odd takes no jobs: it has btworker 9.9.9, and the front end {__version__}"
    until(lambda: world.boxes().get("odd", {}).get("problem", "").startswith(sentence), "the odd box was refused")
    assert world.boxes()["odd"]["status"] == "refused"
    assert on_box(world.done(world.server.submit(["windows", 1])))[0] in NAMES
    world.cluster.kill("odd")
    world.cluster.own["odd"] = {"WORKER_BATCH_SIZE": "many"}
    world.cluster.start("odd")
    until(lambda: "cannot start: wrong settings: - WORKER_BATCH" in world.boxes()["odd"]["problem"], "it says why")
    world.cluster.kill("odd")
    world.cluster.own["odd"] = {}
    world.cluster.start("odd")
    world.until_ready("odd")
    world.cluster.kill("odd")
    del world.cluster.units["odd"], world.cluster.own["odd"]


def test_no_job_is_lost(world: World) -> None:
    """Under load, whatever is killed, two at once: each job is complete, and its transcript is that of a job which
    nobody disturbed, each window there once, whichever boxes did them."""
    luck = luck_of("fleet kills")
    kinds = slice_of([KINDS[number % len(KINDS)] for number in range(KILLS if FULL else len(KINDS))], 3, "fleet kills")
    luck.shuffle(kinds)
    undisturbed = _texts(world, world.server.submit(*script(0.0)))
    assert [index for index, _ in undisturbed] == list(range(WINDOWS))
    jobs: list[str] = []
    deaths: Counter[str] = Counter()
    for pair in (kinds[first : first + 2] for first in range(0, len(kinds), 2)):
        began = time.monotonic()
        world.until_ready(luck.choice(NAMES))
        ready_s = time.monotonic() - began
        jobs += [world.server.submit(*script(0.2)) for _ in range(3)]
        until(partial(world.has_windows, jobs[-3], 2), f"windows before {pair}")
        for kind in pair:
            deaths[kind] += world.kill(kind, luck.choice(NAMES))
        print(f"{time.strftime('%X')} killed: {', '.join(pair)}; a box was ready after {ready_s:.1f} s")
    for job_id in jobs:
        assert _texts(world, job_id) == undisturbed, world.server.job(job_id)["logs"]
    world.until_ready(*NAMES)
    assert all(box["jobs"] == 0 for box in world.boxes().values())
    folders = [world.cluster.folder / name / "boxes" / name / "jobs" for name in NAMES]
    until(lambda: not any(path for folder in folders for path in folder.iterdir()), "nothing of a job is left on a box")
    moved = sum(len(set(on_box(world.server.job(job_id)))) > 1 for job_id in jobs)
    where = "network namespaces" if world.cluster.networks else "loopback"
    print(f"{deaths.total()} deaths ({dict(deaths)}) in {where}, {len(jobs)} jobs, {moved} of them on several boxes")


def _texts(world: World, job_id: str) -> list[tuple[int, object]]:
    """Number and segments of each window of the job's transcript."""
    return [(window["index"], window["segments"]) for window in world.transcript(job_id)["windows"]]
