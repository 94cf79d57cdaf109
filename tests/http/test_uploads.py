"""POST /v1/jobs: what comes in arrives whole and durable, with its options before or after the files."""

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.http.server import (
    AUTH,
    FORM,
    Running,
    field,
    file,
    finished,
    form,
    open_descriptors,
    part,
    request_head,
    upload,
)
from tests.waiting import eventually


async def test_a_file_becomes_a_job_that_completes(client: aiohttp.ClientSession, server: Running) -> None:
    """The job carries size, hash and the name that was sent; its outputs are named after the file."""
    content = os.urandom(3_000_000)
    status, job = await upload(client, file(content, filename="my talk.m4a"), field("language", "German"))
    assert status == 201
    [item] = job["inputs"]
    assert (item["filename"], item["sizeBytes"]) == ("my talk.m4a", len(content))
    assert item["sha256"] == hashlib.sha256(content).hexdigest()
    assert job["options"]["language"] == "de"
    done = await finished(client, job["workerJobId"])
    assert done["status"] == "complete"
    assert [output["filename"] for output in done["outputs"]] == ["my talk_transcript.json"]


@pytest.mark.parametrize("size", [1, 2, 65_535, 65_536, 65_537, 2**20 - 1, 2**20, 2**20 + 1, 4 * 2**20])
async def test_the_bytes_on_disk_are_the_bytes_sent(client: aiohttp.ClientSession, server: Running, size: int) -> None:
    """Whatever the size is beside the buffers'; up to and including the limit."""
    content = os.urandom(size)
    status, job = await upload(client, file(content), field("prompt", "hold"))
    assert status == 201
    folder = server.settings.data_dir / "jobs" / job["workerJobId"]
    assert (folder / "in" / "0").read_bytes() == content
    assert [path.name for path in (folder / "in").iterdir()] == ["0"]
    assert open_descriptors() == []


async def test_the_answer_is_the_job_with_its_location(client: aiohttp.ClientSession) -> None:
    """Every field of the contract is there."""
    async with client.post("/v1/jobs", data=form(file(b"x"), field("prompt", "hold")), headers=FORM) as response:
        job = await response.json()
        assert response.status == 201
        assert response.headers["Location"] == f"/v1/jobs/{job['workerJobId']}"
    assert set(job) == set(
        "workerJobId controllerJobId owner status stage stageStartedAt createdAt startedAt finishedAt attempt "
        "queuePosition waitingFor startsInSeconds etaSeconds progress options inputs outputs logs warnings timings gpu "
        "error delivery".split()
    )
    assert set(job["progress"]) == set(
        "percent currentFileIndex totalFiles currentFile chunkIndex totalChunks "
        "audioSecondsDone audioSecondsTotal".split()
    )
    assert set(job["inputs"][0]) == set("inputId filename sizeBytes sha256 durationSeconds audioUrl peaksUrl".split())
    assert job["workerJobId"].startswith("wk_")
    assert job["createdAt"].endswith("Z")


OPTION_FIELDS = (
    field("language", "en"),
    field("beamSize", "5"),
    field("outputs", "srt,json"),
    field("wordTimestamps", "off"),
)


@pytest.mark.parametrize(
    "parts",
    [
        (*OPTION_FIELDS, file(b"abc")),
        (file(b"abc"), *OPTION_FIELDS),
        (*OPTION_FIELDS[:2], file(b"abc"), *OPTION_FIELDS[2:]),
        (
            field("options", '{"language": "en", "beamSize": 5, "outputs": ["srt", "json"], "wordTimestamps": false}'),
            file(b"abc"),
        ),
        (
            file(b"abc"),
            field("options", '{"language": "en", "beamSize": 5, "outputs": "srt,json"}'),
            field("wordTimestamps", "0"),
        ),
        (
            field("outputs", "srt"),
            field("language", "English"),
            file(b"abc"),
            field("outputs", "json"),
            *OPTION_FIELDS[1::2],
        ),
    ],
)
async def test_options_may_stand_anywhere(client: aiohttp.ClientSession, parts: tuple[bytes, ...]) -> None:
    status, job = await upload(client, *parts)
    assert status == 201, job
    options = job["options"]
    assert (options["language"], options["beamSize"], options["wordTimestamps"]) == ("en", 5, False)
    assert options["outputs"] == ["srt", "json"]
    assert options["model"] == "tiny"


async def test_several_files_make_one_job(client: aiohttp.ClientSession, server: Running) -> None:
    """In their order, each with its own hash; two files of one stem get two names."""
    contents = [os.urandom(10_000 * (n + 1)) for n in range(3)]
    names = ("talk.m4a", "talk.mp3", "other.wav")
    files = [
        file(content, filename=name, name=f"f{n}")
        for n, (content, name) in enumerate(zip(contents, names, strict=True))
    ]
    status, job = await upload(client, files[0], field("language", ""), files[1], files[2])
    assert status == 201
    assert [item["filename"] for item in job["inputs"]] == list(names)
    assert [item["sha256"] for item in job["inputs"]] == [hashlib.sha256(one).hexdigest() for one in contents]
    done = await finished(client, job["workerJobId"])
    stems = ["talk_transcript.json", "talk-2_transcript.json", "other_transcript.json"]
    assert [output["filename"] for output in done["outputs"]] == stems


async def test_small_files_are_written_once_all_are_there(server: Running) -> None:
    """Those of 64 KiB together: what is refused for what stands behind them was never on the disk. More are not held,
    and all of them arrive as they were sent."""
    jobs = server.settings.data_dir / "jobs"
    small, more = os.urandom(60_000), os.urandom(6_000)
    wrong = form(file(small, filename="a.wav"), field("task", "sing"))
    right = form(file(small, filename="a.wav"), file(more, filename="b.wav"), field("prompt", "hold"))
    async with server.connect() as raw:
        raw.send(request_head(headers={**FORM, "Content-Length": str(len(wrong))}) + wrong[:-20])
        await eventually(lambda: server.context.budget.promised_bytes == 20)
        assert not list(jobs.iterdir())
        raw.send(wrong[-20:])
        assert b" 400 " in await raw.until(b"\r\n\r\n")
    assert not list(jobs.iterdir())
    async with server.connect() as raw:
        raw.send(request_head(headers={**FORM, "Content-Length": str(len(right))}) + right[:-20])
        written = await eventually(lambda: [*jobs.glob("*/in/?")])
        raw.send(right[-20:])
        assert b" 201 " in await raw.until(b"\r\n\r\n")
    assert [path.name for path in written] == ["1"]
    assert [(written[0].parent / str(number)).read_bytes() for number in range(2)] == [small, more]


@pytest.mark.parametrize("place", ["before", "behind"])
async def test_a_file_input_in_which_nothing_was_chosen_is_none(server: Running, place: str) -> None:
    """A browser sends it as an empty part with an empty name; also where it comes up to its head first, and the rest
    only once that was read."""
    chosen, content = os.urandom(3000), "Content-Type: application/octet-stream"
    empty = part('form-data; name="file2"; filename=""', b"", content)
    first, rest = (file(chosen) + empty, b"") if place == "behind" else (empty, file(chosen))
    first, rest = first[:-2], first[-2:] + form(rest, field("prompt", "hold"))
    async with server.connect() as raw:
        raw.send(request_head(headers={**FORM, "Content-Length": str(len(first + rest))}) + first)
        await eventually(lambda: server.context.budget.promised_bytes == len(rest))
        raw.send(rest)
        head = await raw.until(b"\r\n\r\n")
        assert b" 201 " in head, head
    (folder,) = server.settings.data_dir.glob("jobs/*")
    assert [(path.name, path.read_bytes()) for path in (folder / "in").iterdir()] == [("0", chosen)]
    assert open_descriptors() == []


async def test_chunked_uploads_work(client: aiohttp.ClientSession) -> None:
    """Without Content-Length, in pieces that split the boundaries."""
    body = form(field("language", "de"), file(b"0123456789" * 5000))

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 997):
            yield body[start : start + 997]

    async with client.post("/v1/jobs", data=pieces(), headers=FORM) as response:
        assert response.status == 201
        assert (await response.json())["inputs"][0]["sizeBytes"] == 50_000


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("C:\\Users\\me\\talk.wav", "talk.wav"),
        ("/", "audio"),
        ("..", ".."),
        ("", "audio"),
        ("a\x00b.wav", "ab.wav"),
        ("\x1b[31mred\x07.wav", "[31mred.wav"),
        ("наради 🎧.m4a", "наради 🎧.m4a"),
        ("\u202egnp.wav", "gnp.wav"),
        ("x" * 3000 + ".wav", "x" * 255),
        ("-rf.wav", "-rf.wav"),
        ("a%22b%0D%0A.wav", 'a"b.wav'),
    ],
)
async def test_names_are_data_and_never_paths(
    client: aiohttp.ClientSession, server: Running, sent: str, shown: str
) -> None:
    """The name is shown cleaned; on disk there is only the job's own folder, and outputs with safe names."""
    status, job = await upload(client, file(b"abc", filename=sent))
    assert status == 201, job
    assert job["inputs"][0]["filename"] == shown
    done = await finished(client, job["workerJobId"])
    assert done["status"] == "complete"
    for output in done["outputs"]:
        async with client.get(output["url"]) as response:
            assert response.status == 200
    top = {name.split("/")[0] for name in server.files()}
    assert top == {job["workerJobId"]}


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        ("filename*=utf-8''%E2%82%AC%20rates.wav", "€ rates.wav"),
        ("filename=\"rates.wav\"; filename*=UTF-8'en'%E2%82%AC%20rates.wav", "€ rates.wav"),
        ("filename*=\"utf-8''%E2%82%AC%20rates.wav\"", "€ rates.wav"),
        ('filename*0="one and "; filename*1="two.wav"', "one and two.wav"),
        ("filename*0*=utf-8''%E2%82%AC%20; filename*1=\"rates.\"; filename*2*=wav", "€ rates.wav"),
        ("filename*1*=%20rates.wav; filename*0*=utf-8''%E2%82%AC", "€ rates.wav"),
        ("filename=\"a; filename*=utf-8''b.wav\"", "a; filename*=utf-8''b.wav"),
        ('filename="a; filename*0=b.wav"', "a; filename*0=b.wav"),
    ],
)
async def test_an_extended_name_counts(client: aiohttp.ClientSession, parameters: str, name: str) -> None:
    """RFC 7578 forbids filename*, and what libraries for e-mail make of a long name (RFC 2231), and clients send them
    all the same."""
    status, job = await upload(client, part(f'form-data; name="file"; {parameters}', b"abc"))
    assert status == 201, job
    assert job["inputs"][0]["filename"] == name


async def test_the_same_key_gives_the_same_job(client: aiohttp.ClientSession, server: Running) -> None:
    """200 and the first job; a failed job gives way to a new one."""
    status, first = await upload(client, file(b"abc"), field("prompt", "hold"), Idempotency_Key="key 1")
    assert status == 201
    status, second = await upload(client, file(b"different"), Idempotency_Key="key 1")
    assert (status, second["workerJobId"]) == (200, first["workerJobId"])
    assert {name.split("/")[0] for name in server.files()} == {first["workerJobId"]}
    async with client.post(f"/v1/jobs/{first['workerJobId']}/cancel") as response:
        assert response.status == 200
    await finished(client, first["workerJobId"])
    status, third = await upload(client, file(b"abc"), Idempotency_Key="key 1")
    assert status == 201
    assert third["workerJobId"] != first["workerJobId"]


async def test_two_uploads_at_once_with_one_key_make_one_job(client: aiohttp.ClientSession, server: Running) -> None:
    parts = (file(os.urandom(300_000)), field("prompt", "hold"))
    answers = await asyncio.gather(*(upload(client, *parts, Idempotency_Key="same") for _ in range(5)))
    assert sorted(status for status, _ in answers) == [200, 200, 200, 200, 201]
    assert len({job["workerJobId"] for _, job in answers}) == 1
    assert len({name.split("/")[0] for name in server.files()}) == 1


async def test_a_keepalive_connection_takes_upload_after_upload(server: Running) -> None:
    """An upload that was read to its end leaves the connection usable."""
    connector = aiohttp.TCPConnector(limit=1)
    async with aiohttp.ClientSession(server.url, headers=AUTH, connector=connector) as session:
        for number in range(5):
            status, _ = await upload(session, file(b"abc"), field("prompt", f"number {number}"))
            assert status == 201
    async with aiohttp.ClientSession(server.url) as session, session.get("/metrics") as response:
        text = await response.text()
    assert 'btworker_uploads_total{outcome="accepted"} 5.0' in text
    assert "btworker_uploads_in_progress 0.0" in text


async def test_the_options_json_is_echoed_as_understood(client: aiohttp.ClientSession) -> None:
    given = {
        "diarizationEnabled": True,
        "minSpeakers": 2,
        "maxSpeakers": 4,
        "temperature": 0.2,
        "priority": 9,
        "model": "base",
    }
    status, job = await upload(client, file(b"abc"), field("options", json.dumps(given)))
    assert status == 201
    assert {key: job["options"][key] for key in given} == given
