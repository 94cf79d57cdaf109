"""The official `openai` package, unmodified, against the running worker with the embedded model."""

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import Request, urlopen

import pytest

from btworker.cli.wer import word_errors
from btworker.web.openai.names import NAMES
from tests.acceptance.conftest import Worker
from tests.demo_worker import DEMO, DEMO_WORKER
from tests.process.server_of import TOKEN
from tests.slices import FULL, slice_of

openai = pytest.importorskip("openai", reason="the pinned one needs Python 3.11")
pytestmark = [pytest.mark.speech, pytest.mark.timeout(300)]

HELD_OUT = Path(__file__).resolve().parents[1] / "data" / "heldout"
TALK = HELD_OUT / "15.opus"
LONG = HELD_OUT / ("23.opus" if FULL else "22.opus")
"""Minutes: a job that is still running when its first words are there."""
REFERENCE = json.loads(TALK.with_suffix(".json").read_text())["text"]


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """Serves the demo's model."""
    settings = {
        **DEMO_WORKER,
        "WORKER_BATCH_SIZE": "1",  # windows end one after the other: a stream has something to say before the end
    }
    worker = Worker(tmp_path_factory.mktemp("worker"), settings).start()
    yield worker
    assert worker.stop() == 0, worker.log.read_text()[-3000:]


@pytest.fixture
def client(worker: Worker) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{worker.url}/v1", api_key=TOKEN, max_retries=0) as found:
        yield found


def transcribe(client: Any, path: Path = TALK, **options: Any) -> Any:
    with path.open("rb") as file:
        return client.audio.transcriptions.create(file=file, **{"model": "whisper-1", "language": "en", **options})


def wrong(text: str) -> float:
    return word_errors(reference=REFERENCE, hypothesis=text).rate


def test_a_recording_is_transcribed(client: Any) -> None:
    """By OpenAI's name of a model and by ours; exactly the fields of the contract."""
    for model in (*slice_of(tuple(NAMES), 2, "names of models"), "demo"):
        answer = transcribe(client, model=model, temperature=0)
        assert wrong(answer.text) < 0.1
    raw = json.loads(transcribe_raw(client).text)
    assert set(raw) == {"text", "usage"}
    assert raw["usage"]["type"] == "duration"
    assert transcribe_raw(client).headers["x-ratelimit-remaining-requests"] == "1000"


def transcribe_raw(client: Any) -> Any:
    with TALK.open("rb") as file:
        return client.audio.transcriptions.with_raw_response.create(file=file, model="whisper-1", language="en")


def test_words_and_segments_have_times(client: Any) -> None:
    """verbose_json, with both granularities and with each."""
    both = transcribe(client, response_format="verbose_json", timestamp_granularities=["word", "segment"])
    assert (both.task, both.language) == ("transcribe", "english")
    assert both.duration > 10
    assert [word.start for word in both.words] == sorted(word.start for word in both.words)
    assert len(both.words) > 10
    assert both.segments[0].id == 0
    assert both.segments[0].tokens
    words = transcribe(client, response_format="verbose_json", timestamp_granularities=["word"])
    assert words.words
    assert words.segments is None
    plain = transcribe(client, response_format="verbose_json")
    assert plain.segments
    assert plain.words is None


@pytest.mark.parametrize(("kind", "mark"), [("text", ""), ("srt", "00:00:0"), ("vtt", "WEBVTT")])
def test_plain_formats_are_text(client: Any, kind: str, mark: str) -> None:
    """The body itself."""
    answer = transcribe(client, response_format=kind)
    assert isinstance(answer, str)
    assert mark in answer
    assert kind != "text" or wrong(answer) < 0.1


def test_speakers_are_letters(client: Any) -> None:
    """diarized_json of the sample's two people."""
    answer = transcribe(
        client,
        DEMO / "sample.flac",
        model="gpt-4o-transcribe-diarize",
        response_format="diarized_json",
        chunking_strategy="auto",
    )
    assert {segment.speaker for segment in answer.segments} == {"A", "B"}
    assert answer.segments[0].speaker == "A"
    assert all(segment.type == "transcript.text.segment" for segment in answer.segments)


def first_speaker() -> str:
    """Eight seconds of who speaks first in the sample, as a data URL."""
    import base64

    from tests.speech.conftest import write_wav
    from tests.speech.diarization.cases import decoded

    with TemporaryDirectory() as folder:
        path = write_wav(Path(folder) / "first.wav", decoded(DEMO / "sample.flac")[: 8 * 16_000])
        return f"data:audio/wav;base64,{base64.b64encode(path.read_bytes()).decode()}"


def joined(events: list[Any]) -> str:
    """The deltas in one piece."""
    return "".join(event.delta for event in events if event.type == "transcript.text.delta")


def running(worker: Worker) -> int:
    """Jobs that the worker has begun and not ended."""
    request = Request(f"{worker.url}/v1/jobs?status=running", headers={"Authorization": f"Bearer {TOKEN}"})
    with urlopen(request) as answer:
        return len(json.load(answer)["jobs"])


def test_a_stream_says_the_text_as_it_comes(client: Any, worker: Worker) -> None:
    """The first words are there while the job runs; the deltas joined are the text, the same as without a stream."""
    with LONG.open("rb") as file:
        stream = client.audio.transcriptions.create(
            file=file, model="whisper-1", language="en", prompt="streamed", stream=True
        )
        first = next(stream)
        assert first.type == "transcript.text.delta"
        assert running(worker) == 1
        events = [first, *stream]
    assert events[-1].type == "transcript.text.done"
    assert joined(events) == events[-1].text
    assert len(events) > 3  # a delta for each window
    assert transcribe(client, LONG, prompt="streamed").text == events[-1].text
    again = list(transcribe(client, LONG, prompt="streamed", stream=True))
    assert joined(again) == events[-1].text


def test_a_stream_of_speakers_ends_with_who_said_what(client: Any) -> None:
    """The text while the job runs, the segments once their speakers are known, then the whole text; somebody known has
    their name."""
    events = list(
        transcribe(
            client,
            DEMO / "sample.flac",
            stream=True,
            response_format="diarized_json",
            known_speaker_names=["Ann"],
            known_speaker_references=[first_speaker()],
        )
    )
    kinds = [event.type.rpartition(".")[2] for event in events]
    assert kinds == sorted(kinds, key=("delta", "segment", "done").index)
    segments = [event for event in events if event.type == "transcript.text.segment"]
    assert {segment.speaker for segment in segments} == {"Ann", "A"}
    assert joined(events) == events[-1].text == " ".join(segment.text for segment in segments)


async def test_the_async_client_works_as_well(worker: Worker) -> None:
    """Several at once."""
    import asyncio

    async with openai.AsyncOpenAI(base_url=f"{worker.url}/v1", api_key=TOKEN, max_retries=0) as client:

        async def one() -> Any:
            return await client.audio.transcriptions.create(
                file=("talk.opus", TALK.read_bytes()), model="whisper-1", language="en"
            )

        answers = await asyncio.gather(*(one() for _ in range(3)))
    assert len({answer.text for answer in answers}) == 1


def test_a_repeated_upload_is_the_same_job(client: Any, worker: Worker) -> None:
    """By its bytes and options, also in another shape: nothing is decoded twice."""
    before = jobs(worker)
    transcribe(client, prompt="a prompt of its own")
    transcribe(client, prompt="a prompt of its own", response_format="srt")
    assert jobs(worker) == before + 1


def jobs(worker: Worker) -> int:
    return worker.log.read_text().count("job_accepted")


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the client's own word on them
def test_translations_are_english(client: Any) -> None:
    """The task is the model's; verbose_json says so."""
    with TALK.open("rb") as file:
        answer = client.audio.translations.create(file=file, model="whisper-1", response_format="verbose_json")
    assert answer.language == "english"
    assert answer.text


def test_models_are_listed(client: Any) -> None:
    """Ours, and OpenAI's names for the default one."""
    assert {model.id for model in client.models.list()} == {"demo", *NAMES}
    assert client.models.retrieve("demo").owned_by == "btworker"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-7")


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"model": "gpt-7"}, "model"),
        ({"response_format": "yaml"}, "response_format"),
        ({"temperature": 3}, "temperature"),
        ({"include": ["logprobs"], "response_format": "srt"}, "include"),
        ({"include": ["item"]}, "include"),
        ({"chunking_strategy": {"type": "server_vad", "threshold": 2}}, "chunking_strategy"),
        ({"chunking_strategy": "never"}, "chunking_strategy"),
        ({"timestamp_granularities": ["word"]}, "timestamp_granularities"),
        ({"extra_body": {"best_of": 5}}, "best_of"),
        ({"extra_body": {"known_speaker_names": ["Ann"]}}, "known_speaker_names"),
    ],
)
def test_what_is_not_supported_is_named(client: Any, options: dict[str, Any], word: str) -> None:
    """A 400 with the parameter, as the client reads errors."""
    with pytest.raises(openai.BadRequestError) as caught:
        transcribe(client, **options)
    assert caught.value.param == word
    assert word in str(caught.value)


def test_a_file_that_is_no_sound_is_the_clients_fault(client: Any, tmp_path: Path) -> None:
    """400 and not to be tried again; a wrong key is 401."""
    path = tmp_path / "notes.mp3"
    path.write_text("no sound at all")
    with pytest.raises(openai.BadRequestError) as caught:
        transcribe(client, path)
    assert caught.value.code == "CORRUPT_AUDIO"
    assert caught.value.response.headers["x-should-retry"] == "false"
    with pytest.raises(openai.AuthenticationError):
        transcribe(client.with_options(api_key="wrong"))
