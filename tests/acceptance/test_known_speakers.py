"""People known by name, through the running worker with the embedded models: by the request, and stored."""

import base64
import io
import json
import signal
import urllib.error
import urllib.request
import wave
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.acceptance.conftest import Worker
from tests.demo_worker import DEMO_WORKER
from tests.process.server_of import TOKEN

pytestmark = [pytest.mark.speech, pytest.mark.timeout(300)]
DIALOGUES = Path(__file__).resolve().parents[1] / "data" / "dialogues"
RATE = 16_000
TALK_S = 40.0
"""Of the dialogue that is transcribed; references come out of what follows."""
ANNA, BEN, STRANGER = "en-us+m3/60", "en-us+m7/60", "en+f4/60"
SETTINGS = {**DEMO_WORKER, "WORKER_KNOWN_SPEAKERS": "3"}
Part = tuple[str, bytes | str]
"""(name, a field's text or a file's bytes)."""


@cache
def dialogue(number: str) -> tuple[NDArray[np.int16], list[list[Any]]]:
    """Its samples and its turns."""
    from tools.demo_diarization.measure import pcm
    from tools.demo_model.audio import read_audio

    turns = json.loads((DIALOGUES / f"{number}.json").read_text())["turns"]
    return pcm(read_audio(DIALOGUES / f"{number}.opus")), turns


def wav(samples: NDArray[np.int16]) -> bytes:
    """As a file."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())
    return out.getvalue()


@cache
def voice_of(number: str, person: str, seconds: float = 6.0) -> bytes:
    """What a person says late in a dialogue, as a WAV file."""
    samples, turns = dialogue(number)
    spoken = [
        samples[int(start * RATE) : int(end * RATE)]
        for start, end, who, *_ in turns
        if who == person and start > TALK_S
    ]
    return wav(np.concatenate(spoken)[: int(seconds * RATE)])


@cache
def talk() -> bytes:
    """The beginning of the dialogue of two."""
    return wav(dialogue("01")[0][: int(TALK_S * RATE)])


def data_url(sound: bytes) -> str:
    """As OpenAI's clients send it."""
    return f"data:audio/wav;base64,{base64.b64encode(sound).decode()}"


def send(worker: Worker, path: str, parts: Sequence[Part], method: str = "POST") -> tuple[int, Any]:
    """(status, answer) of a form."""
    body = b""
    for name, value in parts:
        filename = f'; filename="{name.rstrip("[]")}.wav"' if isinstance(value, bytes) else ""
        content = value if isinstance(value, bytes) else value.encode()
        body += f'--b\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n\r\n'.encode() + content + b"\r\n"
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "multipart/form-data; boundary=b"}
    data = body + b"--b--\r\n" if method == "POST" else None
    request = urllib.request.Request(worker.url + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=200) as answer:
            raw, status = answer.read(), answer.status
    except urllib.error.HTTPError as error:
        raw, status = error.read(), error.code
    return status, json.loads(raw) if raw[:1] in (b"{", b"[") else raw.decode()


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """Serves the embedded models."""
    worker = Worker(tmp_path_factory.mktemp("worker"), SETTINGS).start()
    yield worker
    assert worker.stop() == 0, worker.log.read_text()[-3000:]


@pytest.mark.sliced("known speakers", 1)
def test_known_people_have_their_names_in_every_output(worker: Worker) -> None:
    """One by a data URL and one as a file; a third, who is not there, creates nobody."""
    formats = ("json", "srt", "vtt", "md", "rttm", "txt", "tsv")
    status, job = send(
        worker,
        "/v1/jobs",
        [
            *(("known_speaker_names[]", name) for name in ("Anna <b>", "Nobody", "Ben")),
            ("known_speaker_references[]", data_url(voice_of("01", ANNA))),
            ("known_speaker_references[]", voice_of("03", STRANGER)),
            ("known_speaker_references[]", voice_of("01", BEN)),
            ("language", "en"),
            ("outputs", ",".join(formats)),
            ("file", talk()),
        ],
    )
    assert status == 201, job
    ended = worker.ended(job["workerJobId"])
    assert ended["status"] == "complete", ended
    texts = {item["type"]: worker.output(job["workerJobId"], item["filename"]) for item in ended["outputs"]}
    transcript = json.loads(texts["json"])
    known = {one["name"]: one for one in transcript["known_speakers"]}
    assert [known[name]["matched"] for name in ("Anna <b>", "Nobody", "Ben")] == [True, False, True]
    assert min(known[name]["score"] for name in ("Anna <b>", "Ben")) > 0.5
    assert {turn["speaker"] for turn in transcript["turns"]} == {"Anna <b>", "Ben"}
    assert {segment["speaker"] for segment in transcript["segments"]} == {"Anna <b>", "Ben"}
    right = sum(_who(transcript["turns"], *turn[:2]) == {ANNA: "Anna <b>", BEN: "Ben"}[turn[2]] for turn in _turns())
    assert right >= 0.8 * len(_turns())
    assert "Anna_<b> <NA>" in texts["rttm"]
    assert "Anna &lt;b&gt;" in texts["vtt"]
    for kind in ("srt", "vtt", "md", "rttm", "txt", "speaker-markdown", "diarization-json"):
        assert "Ben" in texts[kind], kind
        assert "SPEAKER_" not in texts[kind], kind
    assert not list((worker.folder / "data" / "jobs" / job["workerJobId"]).glob("in/*")), "gone with the job"


def _turns() -> list[list[Any]]:
    return [turn for turn in dialogue("01")[1] if turn[1] < TALK_S and turn[1] - turn[0] > 1]


def _who(turns: list[dict[str, Any]], start: float, end: float) -> str:
    return str(max(turns, key=lambda turn: min(end, turn["end"]) - max(start, turn["start"]))["speaker"])


@pytest.mark.sliced("known speakers", 1)
def test_a_voice_is_stored_used_and_deleted(worker: Worker) -> None:
    """Its numbers alone, across a kill -9; whoever is not known is SPEAKER_NN, and A for OpenAI's clients."""
    status, stored = send(worker, "/v1/voices", [("name", "Ben"), ("file", voice_of("01", BEN))])
    assert status == 201, stored
    assert (stored["name"], stored["dimension"]) == ("Ben", 64)
    (path,) = (worker.folder / "data" / "voices").iterdir()
    assert path.stat().st_size < 5_000
    assert worker.request("GET", "/v1/jobs?limit=200")[1]["jobs"] == [
        job for job in worker.request("GET", "/v1/jobs?limit=200")[1]["jobs"] if job["options"]["task"] != "enroll"
    ]
    assert send(worker, "/v1/voices", [("name", "ben"), ("file", voice_of("01", BEN))])[0] == 409
    worker.stop(signal.SIGKILL)
    other = {**json.loads(path.read_text()), "id": "vo_0", "name": "Old", "model": "another", "createdAt": 0}
    path.with_name("vo_0.json").write_text(json.dumps(other))
    worker.start()
    assert [one["id"] for one in worker.request("GET", "/v1/voices")[1]["voices"]] == ["vo_0", stored["id"]]
    parts = [("known_speaker_names[]", "Ben"), ("known_speaker_names[]", "Old"), ("language", "en"), ("file", talk())]
    status, answer = send(
        worker,
        "/v1/audio/transcriptions",
        [("model", "gpt-4o-transcribe-diarize"), ("response_format", "diarized_json"), *parts],
    )
    assert status == 200, answer
    assert len({one["speaker"] for one in answer["segments"]} - {"Ben"}) == 1
    assert "Ben" in {one["speaker"] for one in answer["segments"]}
    assert {one["speaker"] for one in answer["segments"]} <= {"Ben", "A", "B"}
    warnings = worker.request("GET", "/v1/jobs?limit=1")[1]["jobs"][0]["warnings"]
    assert any("'Old' was made with another pipeline" in warning for warning in warnings), warnings
    assert send(worker, f"/v1/voices/{stored['id']}", [], "DELETE")[0] == 204
    assert send(worker, f"/v1/voices/{stored['id']}", [], "DELETE")[0] == 404
    status, refused = send(worker, "/v1/jobs", parts)
    assert (status, refused["error"]["param"]) == (400, "known_speaker_names")
    assert "no stored voice 'Ben'" in refused["error"]["message"]


@pytest.mark.parametrize(
    ("sound", "why"),
    [
        (lambda: wav(dialogue("01")[0][:RATE]), "1.0 s long; at least 2 s"),
        (lambda: wav(np.tile(dialogue("01")[0][: 20 * RATE], 2)), "longer than 30 s|at most 30 s"),
        (lambda: wav(np.zeros(5 * RATE, np.int16)), "0.0 s of speech"),
        (lambda: b"this is no sound" * 100, "no recording that can be decoded"),
    ],
)
def test_a_bad_recording_is_said_to_be_one(worker: Worker, sound: Any, why: str) -> None:
    """At once: as the answer to who stores it, and before a word is transcribed of a job that came with it."""
    status, answer = send(worker, "/v1/voices", [("name", "Cem"), ("file", sound())])
    assert status == 400
    assert answer["error"]["code"] == "BAD_OPTION"
    assert any(part in answer["error"]["message"] for part in why.split("|")), answer
    names = [("known_speaker_names[]", "Cem"), ("known_speaker_references[]", sound())]
    job = send(worker, "/v1/jobs", [*names, ("file", talk())])[1]
    ended = worker.ended(job["workerJobId"])
    assert (ended["status"], ended["error"]["code"]) == ("failed", "BAD_OPTION")
    assert "'Cem'" in ended["error"]["message"]
    assert ended["progress"]["totalChunks"] == 0
