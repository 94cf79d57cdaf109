"""tus 1.0.0 by its own words: each header, each refusal, and what of a broken upload stays."""

import asyncio
import base64
import hashlib
import json
import time
from typing import Any

import aiohttp
import pytest

from btworker.jobs import JobId
from tests.http.resumable import PATCH, TUS, created, looked, metadata, patched, stored
from tests.http.server import AUTH, Running, finished
from tests.waiting import eventually

DATA = bytes(range(256)) * 3900 + b"end"
"""Just below 1 MB, no multiple of a block."""


async def test_what_it_knows_is_told(client: aiohttp.ClientSession, server: Running) -> None:
    """OPTIONS, without a version from the client."""
    async with client.options("/v1/uploads") as response:
        assert response.status == 204
        assert response.headers["Tus-Version"] == "1.0.0"
        assert set(response.headers["Tus-Extension"].split(",")) == {
            "creation", "creation-with-upload", "creation-defer-length", "expiration", "checksum", "termination",
        }  # fmt: skip
        assert response.headers["Tus-Max-Size"] == str(server.settings.max_file_bytes)
        assert response.headers["Tus-Checksum-Algorithm"] == "sha1,sha256"


async def test_every_answer_names_the_version(client: aiohttp.ClientSession, server: Running) -> None:
    """A refusal too; one of another version says which there are."""
    place = await created(client, len(DATA))
    async with client.head(place, headers={"Tus-Resumable": "0.2.2"}) as response:
        assert (response.status, response.headers["Tus-Version"]) == (412, "1.0.0")
    asked = [
        ("PATCH", place, PATCH),
        ("DELETE", place, TUS),
        ("HEAD", place, TUS),
        ("POST", place, {}),
        ("POST", "/v1/uploads", TUS),
    ]
    for method, path, headers in asked:
        async with client.request(method, path, headers=headers) as response:
            assert response.headers["Tus-Resumable"] == "1.0.0", (method, response.status)
            assert "Tus-Version" not in response.headers or response.status == 412
    async with aiohttp.ClientSession(server.url) as stranger, stranger.head(place, headers=TUS) as response:
        assert (response.status, response.headers["Tus-Resumable"]) == (401, "1.0.0")


async def test_pieces_of_any_size_make_the_file(client: aiohttp.ClientSession, server: Running) -> None:
    """Across blocks and buffers; HEAD says where each ended."""
    place = await created(client, len(DATA), **{"Upload-Metadata": metadata(filename="talk.wav")})
    offset = 0
    for size in (1, 4095, 4096, 4097, 100_000, 1, len(DATA)):
        response = await patched(client, place, offset, DATA[offset : offset + size])
        offset = min(offset + size, len(DATA))
        assert (response.status, response.headers["Upload-Offset"]) == (204, str(offset))
        assert "Upload-Expires" in response.headers
        head = await looked(client, place)
        assert (head.status, head.headers["Upload-Offset"], head.headers["Upload-Length"]) == (
            200,
            str(offset),
            str(len(DATA)),
        )
        assert head.headers["Upload-Metadata"] == metadata(filename="talk.wav")
        assert head.headers["Cache-Control"] == "no-store"
    assert stored(server, place) == DATA


async def test_a_finished_upload_becomes_a_job_by_itself(client: aiohttp.ClientSession, server: Running) -> None:
    """With the options of its metadata; its bytes are moved, not copied, and every later HEAD knows the job."""
    wanted = {"language": "german", "channels": "separate", "ranges": [{"start": 1, "end": "0:01:30"}]}
    told = metadata(filename="../talk.m4a", submit=json.dumps(wanted))
    place = await created(client, len(DATA), **{"Upload-Metadata": told})
    response = await patched(client, place, 0, DATA)
    job_id = response.headers["Btworker-Job"]
    assert (await looked(client, place)).headers["Btworker-Job"] == job_id
    job = await finished(client, job_id)
    assert (job["status"], job["options"]["language"]) == ("complete", "de")
    assert (job["options"]["channels"], job["options"]["ranges"]) == ("separate", [{"start": 1.0, "end": 90.0}])
    (item,) = job["inputs"]
    assert (item["filename"], item["sizeBytes"]) == ("talk.m4a", len(DATA))
    assert item["sha256"] == hashlib.sha256(DATA).hexdigest()
    assert (await patched(client, place, len(DATA), b"x")).status in (409, 413)


async def test_several_who_ask_at_once_hear_of_one_job(client: aiohttp.ClientSession, server: Running) -> None:
    """The last bytes and many looks at the same time: nobody gets an error, and there is one job."""
    for number in range(5):
        told = metadata(filename=f"{number}.wav", submit="{}")
        place = await created(client, len(DATA), **{"Upload-Metadata": told})
        sending = asyncio.create_task(patched(client, place, 0, DATA))
        answers = []
        while not sending.done():
            answers += await asyncio.gather(*(looked(client, place) for _ in range(4)))
        answers += [await sending, await looked(client, place)]
        assert {answer.status for answer in answers} <= {200, 204}
        assert len({answer.headers["Btworker-Job"] for answer in answers if "Btworker-Job" in answer.headers}) == 1


async def test_uploads_become_one_job_when_asked(client: aiohttp.ClientSession, server: Running) -> None:
    """Several, in the order of the request; each once."""
    places = [await created(client, len(DATA), **{"Upload-Metadata": metadata(filename=f"{n}.wav")}) for n in range(2)]
    ids = [place.rsplit("/", 1)[1] for place in places]
    await patched(client, places[0], 0, DATA)
    async with client.post("/v1/jobs", json={"uploads": ids}) as response:
        answer = await response.json()
        assert (response.status, answer["error"]["code"]) == (409, "CONFLICT")
    await patched(client, places[1], 0, DATA)
    async with client.post("/v1/jobs", json={"uploads": ids, "options": {"outputs": "json"}}) as response:
        job = await response.json()
        assert response.status == 201, job
    assert [item["filename"] for item in job["inputs"]] == ["0.wav", "1.wav"]
    assert server.service.data.folder(JobId(job["workerJobId"])).path.exists()
    async with client.post("/v1/jobs", json={"uploads": ids}) as response:
        assert response.status == 409
    for wrong in ({"uploads": []}, {"uploads": ["../x"]}, {"uploads": [ids[0], ids[0]]}, {"uploads": ids, "x": 1}):
        async with client.post("/v1/jobs", json=wrong) as response:
            assert response.status in (400, 404)
    async with client.post("/v1/jobs", json={"uploads": ids, "options": {"langage": "en"}}) as response:
        assert response.status in (400, 409)


async def test_creation_takes_the_first_bytes_along(client: aiohttp.ClientSession, server: Running) -> None:
    """And a length that comes later."""
    headers = {**PATCH, "Upload-Defer-Length": "1"}
    async with client.post("/v1/uploads", data=DATA[:5000], headers=headers) as response:
        assert (response.status, response.headers["Upload-Offset"]) == (201, "5000")
        place = response.headers["Location"]
    head = await looked(client, place)
    assert head.headers["Upload-Defer-Length"] == "1"
    assert "Upload-Length" not in head.headers
    response = await patched(client, place, 5000, DATA[5000:], **{"Upload-Length": str(len(DATA))})
    assert (response.status, response.headers["Upload-Offset"]) == (204, str(len(DATA)))
    assert stored(server, place) == DATA


async def test_a_client_that_drops_loses_nothing_that_came(client: aiohttp.ClientSession, server: Running) -> None:
    """The offset is where it broke, and the rest completes the file."""
    place = await created(client, len(DATA))
    request = f"PATCH {place} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(DATA)}\r\nUpload-Offset: 0\r\n"
    request += "".join(f"{name}: {value}\r\n" for name, value in {**AUTH, **PATCH}.items()) + "\r\n"
    async with server.connect() as raw:
        raw.send(request.encode() + DATA[:700_001])
        await raw.writer.drain()
        await eventually(lambda: server.service.resumable._writing)
        await asyncio.sleep(0.1)  # what was sent is on its way
    await eventually(lambda: not server.service.resumable._writing)
    offset = int((await looked(client, place)).headers["Upload-Offset"])
    assert 0 < offset <= 700_001
    assert (await patched(client, place, offset, DATA[offset:])).status == 204
    assert stored(server, place) == DATA


async def test_a_wrong_checksum_changes_nothing(client: aiohttp.ClientSession, server: Running) -> None:
    """460, and the offset is as before; the right one is taken."""
    place = await created(client, len(DATA))
    assert (await patched(client, place, 0, DATA[:3000])).status == 204
    for name in ("sha1", "sha256"):
        wrong = base64.b64encode(hashlib.new(name, b"other").digest()).decode()
        assert (
            await patched(client, place, 3000, DATA[3000:9000], **{"Upload-Checksum": f"{name} {wrong}"})
        ).status == 460
        assert (await looked(client, place)).headers["Upload-Offset"] == "3000"
    right = base64.b64encode(hashlib.sha256(DATA[3000:]).digest()).decode()
    assert (await patched(client, place, 3000, DATA[3000:], **{"Upload-Checksum": f"sha256 {right}"})).status == 204
    assert stored(server, place) == DATA


async def test_one_writes_at_a_time(client: aiohttp.ClientSession, server: Running) -> None:
    """423 to the second, and to a deletion; the first goes on."""
    place = await created(client, len(DATA))
    go = asyncio.Event()

    async def slowly() -> Any:
        yield DATA[:1000]
        await go.wait()
        yield DATA[1000:]

    first = asyncio.create_task(patched(client, place, 0, slowly()))  # type: ignore[arg-type]
    await eventually(lambda: server.service.resumable._writing)
    assert (await patched(client, place, 0, b"x")).status == 423
    async with client.delete(place, headers=TUS) as response:
        assert response.status == 423
    go.set()
    assert (await first).status == 204
    assert stored(server, place) == DATA


async def test_a_deleted_upload_is_gone(client: aiohttp.ClientSession, server: Running) -> None:
    """204, then 410 for everything; its bytes are deleted."""
    place = await created(client, len(DATA))
    await patched(client, place, 0, DATA[:10])
    async with client.post(place, headers={**TUS, "X-HTTP-Method-Override": "DELETE"}) as response:
        assert response.status == 204
    assert (await looked(client, place)).status == 410
    assert (await patched(client, place, 10, b"x")).status == 410
    with pytest.raises(FileNotFoundError):
        stored(server, place)


async def test_an_unfinished_upload_expires(
    client: aiohttp.ClientSession, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """410 once its time is over, and after as long again it was never there."""
    monkeypatch.setattr("btworker.service.resumable.SWEEP_S", 0.01)
    resumable, hours = server.service.resumable, 0.0
    monkeypatch.setattr(resumable, "_clock", lambda: time.time() + hours * 3600)
    place = await created(client, len(DATA))
    server.service._tasks._tasks[-1].cancel()
    sweep = asyncio.create_task(resumable.sweep())
    for status in (200, 410, 404):

        async def answers(status: int = status) -> bool:
            return (await looked(client, place)).status == status

        await eventually(answers, f"{status} after {hours} hours")
        hours += server.settings.resumable_hours + 1
    await eventually(lambda: not list((server.settings.data_dir / "uploads").iterdir()), "its folder is deleted")
    sweep.cancel()
    await asyncio.gather(sweep, return_exceptions=True)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Upload-Length": "5"}, 412),
        ({"Tus-Resumable": "0.2.2", "Upload-Length": "5"}, 412),
        (TUS, 400),
        ({**TUS, "Upload-Length": "-1"}, 400),
        ({**TUS, "Upload-Length": "1e3"}, 400),
        ({**TUS, "Upload-Length": "5", "Upload-Defer-Length": "1"}, 400),
        ({**TUS, "Upload-Defer-Length": "2"}, 400),
        ({**TUS, "Upload-Length": str(2**40)}, 413),
        ({**TUS, "Upload-Length": "5", "Upload-Metadata": "filename ???"}, 400),
        ({**TUS, "Upload-Length": "5", "Upload-Metadata": "a " + "A" * 40_000}, 400),
        ({**TUS, "Upload-Length": "5", "Upload-Metadata": metadata(submit='{"langage": "en"}')}, 400),
        ({**TUS, "Upload-Length": "5", "Upload-Metadata": metadata(submit="no JSON")}, 400),
    ],
)
async def test_an_upload_that_cannot_be_is_refused_at_once(
    client: aiohttp.ClientSession, server: Running, headers: dict[str, str], status: int
) -> None:
    """Before a byte of it comes."""
    async with client.post("/v1/uploads", headers=headers) as response:
        assert response.status == status, await response.text()
        assert (await response.json())["error"]["message"]
    assert not list((server.settings.data_dir / "uploads").glob("*"))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Upload-Offset": "5"}, 409),
        ({"Upload-Offset": "x"}, 400),
        ({"Content-Type": "text/plain", "Upload-Offset": "0"}, 415),
        ({"Tus-Resumable": "2.0.0", "Upload-Offset": "0"}, 412),
        ({"Upload-Offset": "0", "Upload-Checksum": "md5 AAAA"}, 400),
        ({"Upload-Offset": "0", "Upload-Checksum": "sha1 ???"}, 400),
        ({"Upload-Offset": "0", "Upload-Length": "7"}, 409),
        ({}, 400),
    ],
)
async def test_bytes_that_do_not_fit_are_refused(
    client: aiohttp.ClientSession, headers: dict[str, str], status: int
) -> None:
    """And the upload is as it was."""
    place = await created(client, len(DATA))
    async with client.patch(place, data=b"abc", headers={**PATCH, **headers}) as response:
        assert response.status == status, await response.text()
    assert (await looked(client, place)).headers["Upload-Offset"] == "0"
    assert (await patched(client, place, 0, DATA + b"x")).status == 413
    for nowhere in ("/v1/uploads/up_" + "0" * 32, "/v1/uploads/..%2f..%2fjobs.sqlite3"):
        assert (await looked(client, nowhere)).status == 404


@pytest.mark.parametrize("overrides", [{"resumable_limit": 2}])
async def test_there_is_a_limit_on_begun_uploads(client: aiohttp.ClientSession) -> None:
    """429; one that is deleted makes room."""
    places = [await created(client, len(DATA)) for _ in range(2)]
    async with client.post("/v1/uploads", headers={**TUS, "Upload-Length": "5"}) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (429, "QUEUE_FULL")
    async with client.delete(places[0], headers=TUS):
        pass
    await created(client, len(DATA))


async def test_a_file_system_without_links_gets_a_copy(
    client: aiohttp.ClientSession, server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As vfat and some network file systems."""

    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("btworker.service.resumable_files.os.link", refused)
    place = await created(client, len(DATA), **{"Upload-Metadata": metadata(submit="{}")})
    job_id = (await patched(client, place, 0, DATA)).headers["Btworker-Job"]
    job = await finished(client, job_id)
    assert (job["status"], job["inputs"][0]["sha256"]) == ("complete", hashlib.sha256(DATA).hexdigest())
