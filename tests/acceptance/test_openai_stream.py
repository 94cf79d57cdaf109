"""OpenAI's clients and what arrives when, with the scripted engine: streams, and answers that are long in coming."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Worker, script
from tests.process.server_of import TOKEN

openai = pytest.importorskip("openai", reason="the pinned one needs Python 3.11")


def asked(prompt: str, **more: Any) -> dict[str, Any]:
    """A request whose job follows the script."""
    return {"file": ("talk.mp3", b"speech\n"), "model": "whisper-1", "prompt": prompt, "stream": True, **more}


def test_each_window_is_told_while_the_job_runs(fake_worker: Worker, tmp_path: Path) -> None:
    """A delta, then the gate to the next one is opened: neither waits for the job's end."""
    first, second = tmp_path / "first", tmp_path / "second"
    prompt = script(["say", " Hello"], ["wait_file", str(first)], ["say", " there. "], ["wait_file", str(second)])
    with openai.OpenAI(base_url=f"{fake_worker.url}/v1", api_key=TOKEN, max_retries=0) as client:
        stream = client.audio.transcriptions.create(**asked(prompt))
        assert next(stream).delta == "Hello"
        first.touch()
        assert next(stream).delta == " there."
        second.touch()
        (done,) = stream
    assert (done.type, done.text) == ("transcript.text.done", "Hello there.")


async def test_the_async_client_hears_it_as_well(fake_worker: Worker, tmp_path: Path) -> None:
    """The same, awaited."""
    gate = tmp_path / "gate"
    prompt = script(["say", " One"], ["wait_file", str(gate)], ["say", " two"])
    async with openai.AsyncOpenAI(base_url=f"{fake_worker.url}/v1", api_key=TOKEN, max_retries=0) as client:
        stream = await client.audio.transcriptions.create(**asked(prompt))
        assert (await anext(stream)).delta == "One"
        gate.touch()
        rest = [event async for event in stream]
    await asyncio.sleep(0)  # lets the loop close the generators that the client leaves behind [DONE]
    assert "".join(event.delta for event in rest[:-1]) == " two"
    assert rest[-1].text == "One two"


def test_a_client_waits_for_a_job_that_takes_longer_than_its_limit(fake_worker: Worker) -> None:
    """Which is one for silence: the worker gives a sign now and then."""
    prompt = script(["sleep", 9], ["say", " At last"])
    with openai.OpenAI(base_url=f"{fake_worker.url}/v1", api_key=TOKEN, max_retries=0, timeout=6.0) as client:
        answer = client.audio.transcriptions.create(**asked(prompt, stream=False))
    assert answer.text == "At last"


def test_a_job_that_fails_in_the_middle_is_an_error(fake_worker: Worker) -> None:
    """What was said was said; then the client raises the job's own sentence."""
    prompt = script(["say", " One"], ["sleep", 1.0], ["fail", "OUT_OF_MEMORY", "there is not enough memory"])
    heard: list[str] = []
    with openai.OpenAI(base_url=f"{fake_worker.url}/v1", api_key=TOKEN, max_retries=0) as client:
        stream = client.audio.transcriptions.create(**asked(prompt))
        with pytest.raises(openai.APIError, match="not enough memory"):
            heard.extend(event.delta for event in stream)
    assert heard == ["One"]


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    """One to be stopped."""
    worker = Worker(tmp_path).start()
    yield worker
    assert worker.stop() == 0


def test_a_worker_that_stops_says_so(worker: Worker, tmp_path: Path) -> None:
    """The stream ends with an error, not with half a text; the same request gets the whole after the start."""
    gate = tmp_path / "gate"
    prompt = script(["say", " One"], ["wait_file", str(gate)], ["say", " two"])
    with openai.OpenAI(base_url=f"{worker.url}/v1", api_key=TOKEN, max_retries=0) as client:
        stream = client.audio.transcriptions.create(**asked(prompt))
        assert next(stream).delta == "One"
        assert worker.stop() == 0
        with pytest.raises(openai.APIError):
            list(stream)
        gate.touch()
        worker.start()
        *_, done = client.audio.transcriptions.create(**asked(prompt))
    assert done.text == "One two"
