"""A job of the controller from its dispatch to its end: every field that it reads, at every stage, in its order."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.acceptance.conftest import Worker, script
from tests.acceptance.controller.controller import Controller, FaultError, Record, controlling, look, until_job
from tests.acceptance.controller.dispatching import ALL_OPTIONS, PROGRESS
from tests.process.server_of import TOKEN
from tests.waiting import eventually


@pytest.fixture
async def controller() -> AsyncIterator[Controller]:
    async with controlling() as running:
        yield running


@pytest.fixture
def worker(controller: Controller, tmp_path: Path) -> Worker:
    """Allowed to reach this controller."""
    return Worker(
        tmp_path,
        {"WORKER_ALLOWED_HOSTS": f"127.0.0.1:{controller.port}", "WORKER_MODEL": "fake", "WORKER_MODELS": "fake"},
    )


@pytest.fixture
async def session(worker: Worker) -> AsyncIterator[aiohttp.ClientSession]:
    worker.start()
    async with aiohttp.ClientSession(worker.url, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        yield client
    assert worker.stop() == 0, worker.log.read_text()


def record_of(job_id: str, count: int = 1, **options: Any) -> Record:
    inputs = {f"in/../{n}": (f"../talk {n}.mp3", f"speech {n}\n".encode() * 1000) for n in range(count)}
    return Record(job_id, inputs, {"model": "fake", **options})


async def test_a_job_of_three_inputs(controller: Controller, session: aiohttp.ClientSession) -> None:
    """All the way: what is polled, pushed and called back."""
    steps = script(["windows", 2], ["diarize"], ["windows", 3])
    record = record_of("job-1", 3, **ALL_OPTIONS, prompt=steps)
    record.options.update(ALL_OPTIONS)
    status, answer = await controller.dispatch(session, record)
    assert (status, answer["status"], answer["controllerJobId"]) == (201, "queued", "job-1")
    assert answer["options"]["minSpeakers"] == 2
    assert answer["options"]["numSpeakers"] == 3
    [warning] = answer["warnings"]
    assert warning == (
        "options without effect here: diarizationChunkSeconds, diarizationOverlapSeconds, qualityPreset"
    ), "what is done anyway, and what asks for nothing, is not named"
    job = await controller.poll(session, record)
    assert (job["status"], job["error"]) == ("complete", None)
    assert len(record.manifest) == 3
    assert controller.requests == {"input": 3, "output": 3, "callback": 1}
    callback = record.callbacks[0]
    assert callback["status"] == "complete"
    assert (callback["workerJobId"], callback["controllerJobId"]) == (record.worker_job_id, "job-1")
    assert [(one["inputId"], one["type"]) for one in callback["outputs"]] == [(f"in/../{n}", "json") for n in range(3)]
    assert record.contents[callback["outputs"][0]["filename"]]
    for seen in record.seen:
        assert set(seen["progress"]) >= PROGRESS
        assert seen["status"] == "complete" or seen["progress"]["percent"] < 100
    stages = list(dict.fromkeys(seen["stage"] for seen in record.seen))
    order = [
        "downloading",
        "loading_model",
        "queued",
        "initializing",
        "transcribing",
        "diarizing",
        "uploading",
        "complete",
    ]
    assert [stage for stage in order if stage in stages] == stages


async def test_the_token_goes_to_the_controller_and_to_no_download(
    controller: Controller, session: aiohttp.ClientSession
) -> None:
    """And every request says who asks."""
    record = record_of("job-1")
    await controller.dispatch(session, record)
    await controller.poll(session, record)
    for what, headers in controller.headers:
        assert headers["User-Agent"] == "bulk-transcribe-worker/unknown"
        assert headers.get("Authorization") == (None if what == "input" else f"Bearer {TOKEN}")
        assert what == "input" or headers["Accept"] == "application/json"


async def test_the_same_key_is_the_same_job(controller: Controller, session: aiohttp.ClientSession) -> None:
    """200 instead of 201, and nothing is done twice; a failed one gives way."""
    record = record_of("job-1", prompt=script(["fail", "NO_AUDIO", "the file has no audio"]))
    first = await controller.dispatch(session, record)
    again = await controller.dispatch(session, record)
    assert (first[0], again[0]) == (201, 200)
    assert first[1]["workerJobId"] == again[1]["workerJobId"]
    job = await controller.poll(session, record)
    assert (job["status"], job["error"]["code"]) == ("failed", "NO_AUDIO")
    await eventually(lambda: record.callbacks)
    assert (record.callbacks[0]["status"], record.callbacks[0]["error"]["code"]) == ("failed", "NO_AUDIO")
    record.options["prompt"] = ""
    third = await controller.dispatch(session, record)
    assert (third[0], third[1]["workerJobId"] != first[1]["workerJobId"]) == (201, True)
    assert (await controller.poll(session, record))["status"] == "complete"


async def test_a_canceled_job_says_so(controller: Controller, session: aiohttp.ClientSession) -> None:
    """While it runs, and while its inputs are fetched."""
    running = record_of("job-1", prompt=script(["sleep", 600]))
    await controller.dispatch(session, running)
    await until_job(session, running, lambda job: job["stage"] == "transcribing")
    await _cancel(session, running)
    controller.faults = _only("input", "hang")
    downloading = record_of("job-2")
    await controller.dispatch(session, downloading)
    await eventually(lambda: controller.requests["input"] == 2)
    await _cancel(session, downloading)
    for record in (running, downloading):
        assert (await controller.poll(session, record))["error"]["code"] == "CANCELED"
        await eventually(lambda record=record: record.callbacks)
        assert record.callbacks[0]["status"] == "canceled"
        assert record.callbacks[0]["error"]["code"] == "CANCELED"


async def test_an_output_before_the_controller_knows_the_job_is_pushed_again(
    controller: Controller, session: aiohttp.ClientSession
) -> None:
    """Its first refusals are soon over; nothing is accepted twice."""
    controller.learns_after = "refused output"
    record = record_of("job-1")
    await controller.dispatch(session, record)
    job = await controller.poll(session, record)
    assert job["status"] == "complete"
    assert controller.requests["output"] == controller.requests["refused output"] + 1
    assert len(record.manifest) == 1


async def test_an_output_that_the_manifest_lost_is_pushed_again(
    controller: Controller, session: aiohttp.ClientSession
) -> None:
    """The callback's answer counts too few."""
    lost = iter([True])

    def lose(what: str, _record: Record) -> None:
        if what == "manifest" and next(lost, False):
            raise FaultError("lost")

    controller.faults = lose
    record = record_of("job-1", 2)
    await controller.dispatch(session, record)
    assert (await controller.poll(session, record))["status"] == "complete"
    assert {entry["inputId"] for entry in record.manifest} == {"in/../0", "in/../1"}
    assert len(record.callbacks) == 2


async def test_outputs_are_pushed_one_at_a_time(controller: Controller, session: aiohttp.ClientSession) -> None:
    """A controller that rewrites its manifest without a lock loses none."""
    controller.manifest_delay_s = 0.05
    record = record_of("job-1", 5)
    await controller.dispatch(session, record)
    assert (await controller.poll(session, record))["status"] == "complete"
    assert len(record.manifest) == 5
    assert controller.requests["output"] == 5


async def test_a_job_is_not_complete_before_its_outputs_are_taken(
    controller: Controller, session: aiohttp.ClientSession
) -> None:
    """It says uploading, holds no slot and is not counted; another one runs meanwhile."""
    controller.faults = lambda what, record: _raise(503) if (what, record.job_id) == ("output", "stuck") else None
    stuck, other = record_of("stuck"), record_of("other")
    await controller.dispatch(session, stuck)
    await until_job(session, stuck, lambda job: job["stage"] == "uploading" and job["delivery"]["attempts"] > 0)
    await controller.dispatch(session, other)
    assert (await controller.poll(session, other))["status"] == "complete"
    job = await look(session, stuck)
    assert (job["status"], job["stage"]) == ("running", "uploading")
    assert job["delivery"]["lastError"] == "127.0.0.1 answered 503"
    assert job["delivery"]["attempts"] >= 1
    async with session.get("/v1/ping") as response:
        assert (await response.json())["activeJobs"] == 0
    controller.faults = lambda *_: None
    assert (await controller.poll(session, stuck))["status"] == "complete"
    assert len(stuck.manifest) == 1


async def test_a_callback_that_fails_at_first_is_told_again(
    controller: Controller, session: aiohttp.ClientSession
) -> None:
    """The job is complete meanwhile: all its outputs were taken."""
    controller.faults = _only("callback", 500)
    record = record_of("job-1")
    await controller.dispatch(session, record)
    assert (await controller.poll(session, record))["status"] == "complete"
    assert (await look(session, record))["delivery"]["state"] == "delivering"
    controller.faults = lambda *_: None
    await eventually(lambda: record.callbacks)
    await until_job(session, record, lambda job: job["delivery"]["state"] == "delivered")
    assert record.callbacks[0]["status"] == "complete"


async def test_a_download_that_breaks_off_is_resumed(controller: Controller, session: aiohttp.ClientSession) -> None:
    """With a Range from where it broke; what arrives is what was sent."""
    broken = iter([True, True])
    controller.faults = lambda what, _: _raise("reset") if what == "middle" and next(broken, False) else None
    record = record_of("job-1")
    record.inputs["in/../0"] = ("long.mp3", bytes(range(256)) * 20_000)
    await controller.dispatch(session, record)
    job = await controller.poll(session, record)
    assert job["status"] == "complete"
    assert job["inputs"][0]["sizeBytes"] == 5_120_000
    assert len(controller.ranges) == 2
    assert all(not one.startswith("bytes=0-") for one in controller.ranges)


async def test_an_expired_url_fails_the_job_at_once(controller: Controller, session: aiohttp.ClientSession) -> None:
    """With what the controller answered, and without the URL."""
    controller.seconds_good = -1
    record = record_of("job-1")
    await controller.dispatch(session, record)
    job = await controller.poll(session, record)
    assert job["error"]["code"] == "DOWNLOAD_FAILED"
    assert "403" in job["error"]["message"]
    assert "sig=" not in json.dumps(job)
    await eventually(lambda: record.callbacks)
    assert record.callbacks[0]["error"]["code"] == "DOWNLOAD_FAILED"


async def test_no_signed_url_and_no_token_is_logged_or_shown(
    controller: Controller, session: aiohttp.ClientSession, worker: Worker
) -> None:
    """Neither in the log nor in the job."""
    record = record_of("job-1")
    _, answer = await controller.dispatch(session, record)
    await controller.poll(session, record)
    said = worker.log.read_text() + json.dumps([answer, *record.seen])
    assert "sig=" not in said
    assert TOKEN not in said


@pytest.mark.parametrize(
    ("change", "status", "word"),
    [
        ({"inputs": []}, 400, "inputs"),
        ({"controllerJobId": ""}, 400, "controllerJobId"),
        ({"callbackUrl": "http://127.0.0.1:1/x"}, 403, "callbackUrl"),
        ({"outputsUploadUrl": "file:///etc/passwd"}, 403, "outputsUploadUrl"),
        ({"options": {"model": "../../etc/passwd"}}, 400, "model"),
    ],
)
async def test_a_request_that_makes_no_sense_is_refused(
    controller: Controller, session: aiohttp.ClientSession, change: dict[str, Any], status: int, word: str
) -> None:
    """With a sentence that names the part."""
    body = {**controller.body(record_of("job-1")), **change}
    async with session.post("/v1/jobs", json=body) as response:
        answer = await response.json()
        assert response.status == status, answer
        assert word in answer["error"]["message"]
    async with session.post("/v1/jobs", data=b"{", headers={"Content-Type": "application/json"}) as response:
        assert response.status == 400


async def test_an_option_that_cannot_be_taken_is_left_out(
    controller: Controller, session: aiohttp.ClientSession
) -> None:
    """A refusal would cost the controller its job."""
    record = record_of("job-1", minSpeakers=5, maxSpeakers=2, noSpeechThreshold=7)
    status, answer = await controller.dispatch(session, record)
    assert status == 201
    assert (answer["options"]["minSpeakers"], answer["options"]["noSpeechThreshold"]) == (None, 0.6)
    assert sum("left out" in warning for warning in answer["warnings"]) == 2
    assert (await controller.poll(session, record))["status"] == "complete"


async def _cancel(session: aiohttp.ClientSession, record: Record) -> None:
    async with session.post(f"/v1/jobs/{record.worker_job_id}/cancel") as response:
        assert response.status == 200


def _raise(how: str | int) -> None:
    raise FaultError(how)


def _only(kind: str, how: str | int) -> Any:
    return lambda what, _record: _raise(how) if what == kind else None
