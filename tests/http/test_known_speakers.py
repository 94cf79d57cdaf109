"""Voices of known speakers on their way in: what is taken, and what is refused before a job is made."""

import base64
import io
import json
from typing import Any

import aiohttp
import pytest

from btworker.voices import Voice
from tests.http.resumable import TUS, metadata
from tests.http.server import FORM, Running, field, file, form

SOUND = bytes(range(256)) * 40
URL = f"data:audio/wav;base64,{base64.b64encode(SOUND).decode()}"
HUGE = f"data:audio/wav;base64,{'A' * 1_600_000}"
NAME, REFERENCE = "known_speaker_names[]", "known_speaker_references[]"
ROUTES = ("/v1/jobs", "/v1/audio/transcriptions")


@pytest.fixture
def overrides() -> dict[str, object]:
    """Small limits."""
    return {"known_speakers": 3, "reference_max_mb": 1}


async def sent(client: aiohttp.ClientSession, *fields: tuple[str, str], route: str = "/v1/jobs") -> tuple[int, Any]:
    """Status and answer of a job with these fields before its file."""
    parts = form(*(field(name, value) for name, value in fields), file(b"speech"))
    async with client.post(route, data=io.BytesIO(parts), headers=FORM) as response:
        return response.status, await response.json()


@pytest.mark.parametrize("route", ROUTES)
async def test_a_data_url_is_decoded_on_its_way_to_the_disk(
    client: aiohttp.ClientSession, server: Running, route: str
) -> None:
    """In whatever pieces it comes; line breaks and missing padding do no harm. The job knows names and hashes."""
    folded = "\n".join(URL[at : at + 77] for at in range(0, len(URL), 77)).rstrip("=")
    fields = [(NAME, " Zoë\u0301  Smith "), (REFERENCE, URL), (NAME, "Ben"), (REFERENCE, folded), ("prompt", "hold")]
    if route == ROUTES[0]:
        status, job = await sent(client, *fields)
        assert status == 201
    else:
        fields[-1] = ("prompt", "")
        assert (await sent(client, *fields, route=route))[0] != 400
        async with client.get("/v1/jobs") as response:
            (job,) = (await response.json())["jobs"]
    known = job["options"]["knownSpeakers"]
    assert [one["name"] for one in known] == ["Zoë\u0301 Smith", "Ben"]
    assert known[0]["sha256"] == known[1]["sha256"] != ""
    assert job["options"]["diarizationEnabled"] is True
    if route == ROUTES[0]:
        folder = server.settings.data_dir / "jobs" / job["workerJobId"] / "in"
        assert (folder / "voice.0").read_bytes() == (folder / "voice.1").read_bytes() == SOUND


async def test_a_reference_may_be_a_file(client: aiohttp.ClientSession, server: Running) -> None:
    """Which is no recording to transcribe."""
    reference = file(SOUND, name=REFERENCE)
    body = form(field(NAME, "Ben"), field("prompt", "hold"), reference, file(b"speech"))
    async with client.post("/v1/jobs", data=body, headers=FORM) as response:
        job = await response.json()
        assert response.status == 201, job
    assert len(job["inputs"]) == 1
    folder = server.settings.data_dir / "jobs" / job["workerJobId"] / "in"
    assert (folder / "voice.0").read_bytes() == SOUND


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("fields", "status", "param", "why"),
    [
        ([(NAME, "Ben")], 400, "known_speaker_names", "no stored voice 'Ben'"),
        ([(REFERENCE, URL)], 400, "known_speaker_references", "0 names"),
        ([(NAME, "Ben"), (REFERENCE, URL), (REFERENCE, URL)], 400, "known_speaker_references", "1 names"),
        ([(NAME, "Ben"), (REFERENCE, "https://example.com/ben.wav")], 400, "known_speaker_references", "data URL"),
        ([(NAME, "Ben"), (REFERENCE, "data:text/plain;base64,AAAA")], 400, "known_speaker_references", "data URL"),
        ([(NAME, "Ben"), (REFERENCE, "data:audio/wav,AAAA")], 400, "known_speaker_references", "data URL"),
        ([(NAME, "Ben"), (REFERENCE, "x" * 5000)], 400, "known_speaker_references", "data URL"),
        ([(NAME, "Ben"), (REFERENCE, "data:audio/wav;base64,AA!A")], 400, "known_speaker_references", "base64"),
        ([(NAME, "Ben"), (REFERENCE, "data:audio/wav;base64,A")], 400, "known_speaker_references", "base64"),
        ([(NAME, "Ben"), (REFERENCE, "data:audio/wav;base64,")], 400, "known_speaker_references", "empty"),
        ([(NAME, "Ben"), (REFERENCE, HUGE)], 413, "known_speaker_references", "REFERENCE_MAX_MB"),
        ([(REFERENCE, URL)] * 4, 400, "known_speaker_references", "at most 3"),
        ([(NAME, name) for name in "ABCD"], 400, "knownSpeakerNames", "at most 3"),
        ([(NAME, "Ben"), (NAME, "BEN")], 400, "knownSpeakerNames", "once"),
        ([(NAME, "SPEAKER_01")], 400, "knownSpeakerNames", "nobody knows"),
        ([(NAME, "\u200b\u200b")], 400, "knownSpeakerNames", "1 to 100"),
        ([(NAME, "x" * 101)], 400, "knownSpeakerNames", "1 to 100"),
    ],
)
async def test_what_does_not_fit_together_is_refused(
    client: aiohttp.ClientSession,
    server: Running,
    fields: list[tuple[str, str]],
    status: int,
    param: str,
    why: str,
    route: str,
) -> None:
    """With a sentence and the field, on both routes, and nothing of it stays on the disk."""
    found, answer = await sent(client, *fields, route=route)
    assert (found, answer["error"]["param"]) == (status, param), answer
    assert why in answer["error"]["message"]
    assert server.files() == []


async def test_a_stored_voice_goes_along_as_a_copy(client: aiohttp.ClientSession, server: Running) -> None:
    """By its name alone; it can be deleted while the job waits."""
    stored = server.context.voices.add("Ben", Voice((0.5, -0.25), "0123456789abcdef", 5.0))
    status, job = await sent(client, (NAME, "Ben"), ("prompt", "hold"))
    assert status == 201
    async with client.get("/v1/voices") as response:
        (shown,) = (await response.json())["voices"]
    assert (shown["name"], shown["dimension"], shown["model"]) == ("Ben", 2, "0123456789abcdef")
    assert "embedding" not in shown
    async with client.delete(f"/v1/voices/{stored.id}") as response:
        assert response.status == 204
    copy = server.settings.data_dir / "jobs" / job["workerJobId"] / "in" / "voice.0.json"
    assert json.loads(copy.read_text())["embedding"] == [0.5, -0.25]
    assert (await sent(client, (NAME, "Ben")))[0] == 400
    async with client.delete("/v1/voices/..%2Fjobs") as response:
        assert response.status == 404


async def test_the_job_of_a_resumable_upload_names_stored_voices(
    client: aiohttp.ClientSession, server: Running
) -> None:
    """One that is not there leaves the upload as it was."""

    async def uploaded(name: str) -> tuple[int, str]:
        submit = json.dumps({"knownSpeakerNames": [name], "prompt": "hold"})
        headers = {**TUS, "Upload-Length": "6", "Upload-Metadata": metadata(filename="talk.wav", submit=submit)}
        kind = {"Content-Type": "application/offset+octet-stream"}
        async with client.post("/v1/uploads", data=b"speech", headers={**headers, **kind}) as response:
            return response.status, await response.text()

    server.context.voices.add("Ben", Voice((0.5, -0.25), "0123456789abcdef", 5.0))
    assert (await uploaded("Ben"))[0] == 201
    async with client.get("/v1/jobs") as response:
        (job,) = (await response.json())["jobs"]
    assert (server.settings.data_dir / "jobs" / job["workerJobId"] / "in" / "voice.0.json").exists()
    status, answer = await uploaded("Cem")
    assert (status, "no stored voice 'Cem'" in answer) == (400, True)


async def test_what_is_no_voice_is_refused(client: aiohttp.ClientSession, server: Running) -> None:
    """One name, one file, and no more; the limit of references holds."""
    for parts, status in (
        ([field("name", "Ben")], 400),
        ([file(b"speech")], 400),
        ([field("name", "Ben"), field("language", "en"), file(b"speech")], 400),
        ([field("name", "Ben"), file(b"speech"), file(b"speech")], 400),
        ([field("name", "Ben"), file(bytes(1_100_000))], 413),
    ):
        async with client.post("/v1/voices", data=io.BytesIO(form(*parts)), headers=FORM) as response:
            assert response.status == status, await response.text()
    assert server.files() == []
