"""Voices of known speakers on their way in: what is taken, and what is refused before a job is made."""

import base64
import hashlib
import io
import json
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from btworker.voices import Voice
from tests.http.resumable import PATCH, TUS, metadata
from tests.http.server import FORM, Running, field, file, form

SOUND = bytes(range(256)) * 40
URL = f"data:audio/wav;base64,{base64.b64encode(SOUND).decode()}"
SHORT = f"data:audio/wav;base64,{base64.b64encode(SOUND[:300]).decode()}"
HUGE = f"data:audio/wav;base64,{'A' * 1_600_000}"
NAME, REFERENCE = "known_speaker_names[]", "known_speaker_references[]"
ROUTES = ("/v1/jobs", "/v1/audio/transcriptions")


@pytest.fixture
def overrides() -> dict[str, object]:
    """Small limits."""
    return {"known_speakers": 3, "reference_max_mb": 1, "allowed_hosts": "127.0.0.1:9", "download_retry_s": 600.0}


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
        ([(NAME, name) for name in "ABCD"], 400, "known_speaker_names", "at most 3"),
        ([(NAME, "Ben"), (NAME, "BEN")], 400, "known_speaker_names", "once"),
        ([(NAME, "SPEAKER_01")], 400, "known_speaker_names", "nobody knows"),
        ([(NAME, "\u200b\u200b")], 400, "known_speaker_names", "1 to 100"),
        ([(NAME, "x" * 101)], 400, "known_speaker_names", "1 to 100"),
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


async def uploaded(client: aiohttp.ClientSession, data: bytes = SOUND, **told: str) -> str:
    """The id of a finished resumable upload."""
    headers = {**PATCH, "Upload-Length": str(len(data)), "Upload-Metadata": metadata(filename="talk.wav", **told)}
    async with client.post("/v1/uploads", data=io.BytesIO(data), headers=headers) as response:
        assert response.status == 201, await response.text()
        return response.headers["Location"].rpartition("/")[2]


def known_as(*references: str, names: int | None = None) -> dict[str, Any]:
    """Options of a job that waits, with these voices and as many names."""
    count = len(references) if names is None else names
    people = [f"Person {number}" for number in range(count)]
    return {"knownSpeakerNames": people, "knownSpeakerReferences": list(references), "prompt": "hold"}


def voices_of(server: Running, job: dict[str, Any]) -> list[bytes]:
    """The references in a job's folder."""
    folder = server.settings.data_dir / "jobs" / job["workerJobId"] / "in"
    return [path.read_bytes() for path in sorted(folder.glob("voice.*"))]


async def asked(
    client: aiohttp.ClientSession, way: str, options: dict[str, Any], recording: str = ""
) -> tuple[int, dict[str, Any]]:
    """Status and answer of a job by JSON, by a resumable upload that becomes one, or by a form with `options`."""
    if way in ("json", "addresses"):
        body: dict[str, Any] = {"inputs": [{"url": "http://127.0.0.1:9/a.wav"}], "options": options}
        if way == "json":
            body = {"uploads": [recording or await uploaded(client, b"speech")], "options": options}
        async with client.post("/v1/jobs", json=body) as response:
            return response.status, await response.json()
    if way == "form":
        parts = form(field("options", json.dumps(options)), file(b"speech"))
        async with client.post("/v1/jobs", data=io.BytesIO(parts), headers=FORM) as response:
            return response.status, await response.json()
    told = metadata(filename="talk.wav", submit=json.dumps(options))
    headers = {**TUS, "Upload-Length": "6", "Upload-Metadata": told}
    async with client.post("/v1/uploads", headers=headers) as response:
        if response.status != 201:
            return response.status, await response.json()
        place = response.headers["Location"]
    patched = {**PATCH, "Upload-Offset": "0"}
    async with client.patch(place, data=b"speech", headers=patched) as response:
        job_id = response.headers.get("Btworker-Job", "none")
    async with client.get(f"/v1/jobs/{job_id}") as response:
        return 201, await response.json()


@pytest.mark.parametrize("way", ["json", "addresses", "tus", "form"])
async def test_voices_may_stand_in_the_options(client: aiohttp.ClientSession, server: Running, way: str) -> None:
    """As data URLs, one or several; where the files are resumable uploads, as ids of such ones, too."""
    first, *others = [SHORT] if way == "form" else [await uploaded(client), SHORT]
    status, job = await asked(client, way, known_as(first, *others))
    assert status == 201, job
    assert voices_of(server, job) == ([SOUND[:300]] if way == "form" else [SOUND, SOUND[:300]])
    assert len(job["inputs"]) == 1
    hashes = [hashlib.sha256(voice).hexdigest() for voice in voices_of(server, job)]
    assert [one["sha256"] for one in job["options"]["knownSpeakers"]] == hashes
    if way != "form":
        async with client.head(f"/v1/uploads/{first}", headers=TUS) as response:
            assert (response.status, way != "tus" or response.headers["Btworker-Job"] == job["workerJobId"]) == (
                200,
                True,
            )


BAD_VOICES: list[tuple[dict[str, Any], str, str]] = [
    (known_as("https://example.com/a.wav"), "known_speaker_references", "data URL"),
    (known_as("data:audio/wav;base64,AA!A"), "known_speaker_references", "base64"),
    (known_as("data:audio/wav;base64,\ud800"), "known_speaker_references", "base64"),
    (known_as("data:audio/wav;base64,"), "known_speaker_references", "empty"),
    (known_as("data:audio/wav;base64,AAAA", names=2), "known_speaker_references", "2 names"),
    (known_as(*["data:audio/wav;base64,AAAA"] * 4, names=3), "known_speaker_references", "with 4|at most 3"),
    ({"knownSpeakerReferences": ["data:audio/wav;base64,AAAA"]}, "known_speaker_references", "0 names"),
    (known_as("Ben") | {"knownSpeakerReferences": [3]}, "known_speaker_references", "list of texts"),
    (known_as("Ben") | {"knownSpeakerReferences": {"a": "b"}}, "known_speaker_references", "list of texts"),
    (known_as("up_" + "0" * 32), "known_speaker_references", "data URL|no such upload"),
    ({"knownSpeakerNames": "Ben"}, "known_speaker_names", "no stored voice 'Ben'"),
]
"""(options, param, one of the parts of the message)."""


@pytest.mark.parametrize("way", ["json", "addresses", "tus", "form"])
async def test_bad_voices_in_the_options_are_refused(client: aiohttp.ClientSession, server: Running, way: str) -> None:
    """With a sentence and the field, before a byte of a resumable upload came; nothing of the job stays on the disk."""
    recording = await uploaded(client, b"speech")
    for options, param, why in BAD_VOICES:
        status, answer = await asked(client, way, options, recording)
        assert status == (404 if "no such upload" in answer["error"]["message"] else 400), answer
        assert answer["error"]["param"] == param, answer
        assert any(part in answer["error"]["message"] for part in why.split("|")), answer
        assert not list((server.settings.data_dir / "jobs").glob("wk_*"))


async def test_an_upload_that_is_no_voice_is_refused(client: aiohttp.ClientSession, server: Running) -> None:
    """Not finished, empty, too large, an input already; the recording can be sent again with a better one."""
    recording = await uploaded(client, b"speech")
    headers = {**TUS, "Upload-Length": "100"}
    async with client.post("/v1/uploads", headers=headers) as response:
        unfinished = response.headers["Location"].rpartition("/")[2]
    used = await uploaded(client)
    assert (await asked(client, "json", known_as(used)))[0] == 201
    large = await uploaded(client, bytes(1_100_000))
    empty = await uploaded(client, b"")
    for voice, status, why in (
        (unfinished, 409, "0 bytes so far"),
        (used, 409, "an input of job"),
        (large, 413, "REFERENCE_MAX_MB"),
        (empty, 400, "is empty"),
    ):
        for way in ("json", "tus"):
            found, answer = await asked(client, way, known_as(voice), recording)
            assert (found, why in answer["error"]["message"]) == (status, True), answer
            assert answer["error"]["param"] == "known_speaker_references"
    status, job = await asked(client, "json", known_as(await uploaded(client)), recording)
    assert (status, voices_of(server, job)) == (201, [SOUND])


async def test_a_voice_is_kept_as_long_as_the_upload_that_needs_it(
    client: aiohttp.ClientSession, server: Running
) -> None:
    """Though it came long before; after that it is forgotten like any other."""
    uploads = server.service.resumable
    voice, alone = await uploaded(client), await uploaded(client)
    headers = {**TUS, "Upload-Length": "6"}
    told = metadata(filename="talk.wav", submit=json.dumps(known_as(voice)))
    async with client.post("/v1/uploads", headers={**headers, "Upload-Metadata": told}) as response:
        place = response.headers["Location"]
    for upload_id in (voice, alone):
        uploads._known[upload_id] = replace(uploads.get(upload_id), touched_at=0.0)
    await uploads.forget()
    async with client.head(f"/v1/uploads/{alone}", headers=TUS) as response:
        assert response.status == 410
    async with client.patch(place, data=b"speech", headers={**PATCH, "Upload-Offset": "0"}) as response:
        job = {"workerJobId": response.headers["Btworker-Job"]}
    assert voices_of(server, job) == [SOUND]
    uploads._known[voice] = replace(uploads._known[voice], touched_at=0.0)
    await uploads.forget()
    async with client.head(f"/v1/uploads/{voice}", headers=TUS) as response:
        assert response.status == 404


async def test_voices_as_fields_and_in_the_options_are_too_many(client: aiohttp.ClientSession) -> None:
    """In which order they belong to the names would be a guess."""
    status, answer = await sent(client, (REFERENCE, URL), ("options", json.dumps(known_as(SHORT, names=2))))
    assert (status, "in one of the two" in answer["error"]["message"]) == (400, True)
