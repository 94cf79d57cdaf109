"""A job by URL, as JSON: what is taken, what is refused, and that load never is a reason."""

import io
import json
from typing import Any

import aiohttp
import pytest

from tests.http.dispatching import body
from tests.http.server import Running, finished
from tests.waiting import eventually

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def overrides() -> dict[str, object]:
    return {"queue_limit": 1, "download_retry_s": 600.0, "models": "tiny,large,large-v3"}


async def test_neither_a_full_queue_nor_a_drain_refuses_it(client: aiohttp.ClientSession, server: Running) -> None:
    """A refusal would cost the controller its job: load is told by activeJobs alone."""
    for number in range(3):
        async with client.post("/v1/jobs", json=body(controllerJobId=f"job-{number}")) as response:
            assert response.status == 201
    async with client.get("/v1/ping") as response:
        assert (await response.json())["activeJobs"] == 3
    server.service.begin_drain()
    async with client.post("/v1/jobs", json=body(controllerJobId="late")) as response:
        job = await response.json()
        assert (response.status, job["status"], job["stage"]) == (201, "queued", "downloading")
    async with client.get("/v1/ping") as response:
        ping = await response.json()
        assert ping["activeJobs"] == ping["maxConcurrentJobs"]


async def test_a_job_that_is_being_fetched_can_be_canceled_and_deleted(
    client: aiohttp.ClientSession, server: Running
) -> None:
    """Its folder goes with it."""
    async with client.post("/v1/jobs", json=body()) as response:
        job_id = (await response.json())["workerJobId"]
    await eventually(server.files)
    async with client.post(f"/v1/jobs/{job_id}/cancel") as response:
        assert response.status == 200
    assert (await finished(client, job_id))["error"]["code"] == "CANCELED"
    async with client.delete(f"/v1/jobs/{job_id}") as response:
        assert response.status == 204
    await eventually(lambda: not server.files())


@pytest.mark.parametrize("model", ["tiny", "large", "large-v3"])
async def test_every_name_that_is_served_is_answered_for(client: aiohttp.ClientSession, model: str) -> None:
    """The controller asks by name."""
    async with client.post("/v1/jobs", json=body(options={"model": model})) as response:
        assert (response.status, (await response.json())["options"]["model"]) == (201, model)


def _without(name: str) -> dict[str, Any]:
    return {key: value for key, value in body().items() if key != name}


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"", 400, "BAD_REQUEST"),
        (b"{", 400, "BAD_REQUEST"),
        (b"[]", 400, "BAD_REQUEST"),
        (b"null", 400, "BAD_REQUEST"),
        (b'"\xff"', 400, "BAD_REQUEST"),
        (b"[" * 100_000, 400, "BAD_REQUEST"),
        (json.dumps(body(pad="x" * 2**20)).encode(), 400, "BAD_REQUEST"),
        (json.dumps(_without("controllerJobId")).encode(), 400, "BAD_REQUEST"),
        (json.dumps(_without("inputs")).encode(), 400, "BAD_REQUEST"),
        (json.dumps(_without("callbackUrl")).encode(), 400, "BAD_REQUEST"),
        (json.dumps(body(controllerJobId="a\nb")).encode(), 400, "BAD_REQUEST"),
        (json.dumps(body(inputs=[{"inputId": "a"}])).encode(), 400, "BAD_REQUEST"),
        (json.dumps(body(inputs="none")).encode(), 400, "BAD_REQUEST"),
        (json.dumps(body(options=[1])).encode(), 400, "BAD_REQUEST"),
        (json.dumps(body(options={"model": "gpt"})).encode(), 400, "BAD_OPTION"),
        (json.dumps(body(callbackUrl="http://169.254.169.254/x")).encode(), 403, "URL_REFUSED"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    client: aiohttp.ClientSession, server: Running, sent: bytes, status: int, code: str
) -> None:
    """With a sentence; and nothing of it stays."""
    async with client.post("/v1/jobs", data=io.BytesIO(sent), headers=JSON) as response:
        answer = await response.json()
    assert (response.status, answer["error"]["code"]) == (status, code), answer
    assert "secret" not in json.dumps(answer)
    assert server.files() == []


@pytest.mark.parametrize(
    "options",
    [
        {"minSpeakers": "two"},
        {"diarizationEffective": "yes", "numSpeakers": -1},
        {"language": "Klingon", "hallucinationSensitivity": 1000},
        {"x" * 5000: 1, "\x1b[31m": {"deep": [1]}},
        {"beamSize": [5], "temperature": {"a": 1}, "priority": None},
        {"callbackUrl": "http://127.0.0.1/", "options": "{}"},
    ],
)
async def test_no_option_costs_the_job(client: aiohttp.ClientSession, options: dict[str, Any]) -> None:
    """What cannot be followed is left out, and named."""
    async with client.post("/v1/jobs", json=body(options=options)) as response:
        job = await response.json()
    assert response.status == 201, job
    assert job["warnings"]
    assert all(warning.isprintable() and len(warning) < 1000 for warning in job["warnings"])


async def test_the_urls_are_shown_to_nobody(
    client: aiohttp.ClientSession, server: Running, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are signed: neither the job nor the log has them."""
    async with client.post("/v1/jobs", json=body()) as response:
        job = await response.json()
    assert job["delivery"]["callbackHost"] == "controller.invalid"
    await eventually(lambda: server.service.outbound.pending()["download"] == 1)
    assert "sig=" not in json.dumps(job) + capsys.readouterr().out
