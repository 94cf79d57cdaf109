"""A box whose line is cut, on a cluster of Ray's with each box in a network namespace: Ray and HTTP lose it together.
`make test-fleet` runs this, `make full` with three boxes and a minute."""

import time
from collections.abc import Iterator

import pytest

from tests.fleet.namespaces import Switch, switch_with
from tests.fleet.ray_world import WINDOWS, World, on_box, ray_world, script, until
from tests.slices import FULL

pytestmark = [pytest.mark.ray, pytest.mark.system("root", "ip"), pytest.mark.timeout(900)]
HEAD, FAR, *OTHERS = ("one", "two", "three") if FULL else ("one", "two")
PARTITION_S = 60.0 if FULL else 0.0
"""Seconds for which the line is cut at least: until the box is lost."""
SILENCE_S = "20" if FULL else "5"


@pytest.fixture(scope="module")
def switch() -> Iterator[Switch]:
    with switch_with(HEAD, FAR, *OTHERS) as found:
        yield found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, switch: Switch) -> Iterator[World]:
    """Boxes that are ready, the first one beside the front end."""
    folder, networks = tmp_path_factory.mktemp("partition"), switch.networks
    with ray_world(folder, *networks, networks=networks, WORKER_FLEET_SILENCE_SECONDS=SILENCE_S) as found:
        yield found


def test_a_box_whose_line_is_cut_is_fenced(world: World, switch: Switch) -> None:
    """Its job goes on elsewhere from the last window that came; once the line is back the box is used again, and what
    it made meanwhile changes nothing."""
    jobs = [world.server.submit(*script(0.5)) for _ in switch.networks]
    far = until(lambda: next((job for job in jobs if on_box(world.server.job(job)) == [FAR]), None), "the box has one")
    until(lambda: world.has_windows(far, 3), "it has done some windows")
    switch.set(FAR, "down")
    cut_at = time.monotonic()
    results = {job_id: world.transcript(job_id) for job_id in jobs}
    assert world.boxes()[FAR]["status"] == "lost"
    for found in results.values():
        assert [window["index"] for window in found["windows"]] == list(range(WINDOWS))
    by_attempt = [window["attempt"] for window in results[far]["windows"]]
    assert by_attempt == sorted(by_attempt) and by_attempt[:2] == [1, 1] and by_attempt[-1] == 2
    assert [job_id for job_id in jobs if len(on_box(world.server.job(job_id))) > 1] == [far]
    until(lambda: world.cluster.restart_ended() or time.monotonic() - cut_at >= PARTITION_S, "it has lasted")
    switch.set(FAR, "up")
    world.until_ready(HEAD, FAR, *OTHERS)
    assert {job_id: world.transcript(job_id) for job_id in jobs} == results
    more = [world.server.submit(["windows", 1], ["sleep", 2]) for _ in switch.networks]
    assert {box for job_id in more for box in on_box(world.done(job_id))} == set(switch.networks)
    print(f"the line was cut for {time.monotonic() - cut_at:.0f} s at most")
