"""What ping, readiness and metrics say of a fleet's boxes, whatever state they are in; the boxes themselves are in
tests/fleet."""

import re
import subprocess

import aiohttp
import pytest

from btworker.metrics.service import MOST_BOXES, OTHER_BOXES
from btworker.pool import BoxStatus, BoxSummary
from tests import promql
from tests.http.server import Running

LATE = "the box gpu-2 takes no jobs: it has btworker 9.9.9, and the front end 0.2.0"
BOXES = (
    BoxSummary("gpu-1", BoxStatus.READY, workers=8, ready=7, slots=8, jobs=3),
    BoxSummary("gpu-2", BoxStatus.REFUSED, problem=LATE),
    BoxSummary("gpu-3", BoxStatus.DRAINED, workers=8, ready=8, slots=8, jobs=1),
)


async def scraped(client: aiohttp.ClientSession) -> str:
    async with client.get("/metrics") as response:
        return await response.text()


async def get(client: aiohttp.ClientSession, path: str) -> tuple[int, dict[str, object]]:
    async with client.get(path) as response:
        return response.status, await response.json()


async def test_without_a_fleet_there_are_no_boxes(client: aiohttp.ClientSession) -> None:
    """A single machine's answers are what they were."""
    for path in ("/v1/ping", "/health/ready"):
        assert "boxes" not in (await get(client, path))[1]
    assert not re.search("btworker_(box|fleet)_", await scraped(client))


async def test_boxes_are_listed(client: aiohttp.ClientSession, server: Running) -> None:
    """Ping has each with what it has and what is wrong with it; readiness, which is open to all, names and states."""
    server.pool.machines = BOXES
    ping = (await get(client, "/v1/ping"))[1]
    assert ping["boxes"] == [
        {"box": "gpu-1", "status": "ready", "workers": 8, "ready": 7, "slots": 8, "jobs": 3, "problem": ""},
        {"box": "gpu-2", "status": "refused", "workers": 0, "ready": 0, "slots": 0, "jobs": 0, "problem": LATE},
        {"box": "gpu-3", "status": "drained", "workers": 8, "ready": 8, "slots": 8, "jobs": 1, "problem": ""},
    ]
    status, ready = await get(client, "/health/ready")
    states = [{"box": box.box, "status": box.status.value} for box in BOXES]
    assert (status, ready["boxes"]) == (200, states)
    server.pool.machines = ()
    assert (await get(client, "/v1/ping"))[1]["boxes"] == []


async def test_a_fleet_that_is_drained_is_not_ready(client: aiohttp.ClientSession, server: Running) -> None:
    """Its jobs would wait until somebody resumes a box, and the answer says so."""
    server.pool.machines = BOXES[1:]
    status, answer = await get(client, "/health/ready")
    assert status == 503
    assert answer["reasons"] == ["every box that could take jobs is drained (btworker fleet resume BOX)"]
    assert answer["boxes"] == [{"box": box.box, "status": box.status.value} for box in BOXES[1:]]


@pytest.mark.system("promtool")
async def test_metrics_of_each_box_and_in_sum(client: aiohttp.ClientSession, server: Running) -> None:
    """All that rules and dashboard ask of a fleet is there, and promtool has nothing to say."""
    server.pool.machines = BOXES
    text = await scraped(client)
    for line in (
        'btworker_fleet_boxes{state="ready"} 1.0',
        'btworker_fleet_boxes{state="lost"} 0.0',
        'btworker_box_up{box="gpu-1"} 1.0',
        'btworker_box_up{box="gpu-2"} 0.0',
        'btworker_box_refused{box="gpu-2"} 1.0',
        'btworker_box_drained{box="gpu-3"} 1.0',
        'btworker_box_slots{box="gpu-3"} 8.0',
        'btworker_box_jobs{box="gpu-1"} 3.0',
    ):
        assert line in text.splitlines(), line
    asked = {name for one in promql.expressions() for name, _ in promql.selectors(one)}
    of_boxes = {name for name in asked if name.startswith(("btworker_box_", "btworker_fleet_"))}
    assert of_boxes == set(re.findall(r"^(btworker_(?:box|fleet)_\w+)\{", text, re.MULTILINE))
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


async def test_boxes_that_come_and_go_make_no_series(client: aiohttp.ClientSession, server: Running) -> None:
    """Names of pods are new each time: beyond the first hundred all count together."""
    server.pool.machines = tuple(BoxSummary(f"pod-{n}", BoxStatus.READY, 1, 1, 1, 1) for n in range(MOST_BOXES + 50))
    text = await scraped(client)
    found = re.findall(r'^btworker_box_jobs\{box="([^"]+)"\} (\S+)', text, re.MULTILINE)
    assert len(found) == MOST_BOXES + 1
    assert found[-1] == (OTHER_BOXES, "50.0")
