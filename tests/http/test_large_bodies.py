"""Bodies that are read past the HTTP parser (web/body.py): which they are, and where a file ends in them.

That everything else holds for them, too, is shown by test_uploads, test_connections, test_tus and test_refused_bodies:
they run both ways.
"""

import asyncio
import hashlib
import json
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from btworker.config import Settings
from btworker.receiving.intake import BLOCK_BYTES
from btworker.web import app
from tests.http.resumable import PATCH, created, looked
from tests.http.resumable import stored as stored_upload
from tests.http.server import (
    AUTH,
    BOUNDARY,
    FORM,
    Raw,
    Running,
    field,
    file,
    form,
    open_descriptors,
    part,
    request_head,
    serving,
)
from tests.slices import slice_of
from tests.waiting import eventually

DELIMITER = f"\r\n--{BOUNDARY}".encode()
MIB = 2**20


@pytest.fixture
def overrides() -> dict[str, object]:
    return {"fast_body_mb": 2, "max_file_mb": 64}


async def post(raw: Raw, body: bytes) -> tuple[int, dict[str, Any], bool]:
    """Status, answer, and whether the connection is kept: it is not where the body was read past the parser."""
    raw.send(request_head(headers={**FORM, "Content-Length": str(len(body))}) + body)
    head = (await raw.until(b"\r\n\r\n", within_s=60)).lower()
    length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
    answer = json.loads(await asyncio.wait_for(raw.reader.readexactly(length), 10))
    return int(head.split()[1]), answer, b"connection: close" not in head


async def accepted(server: Running, *parts: bytes) -> dict[str, Any]:
    """The job of an upload that was read past the parser."""
    async with server.connect() as raw:
        status, job, is_kept = await post(raw, form(*parts))
    assert (status, is_kept) == (201, False), job
    return job


def stored(server: Running, job: dict[str, Any]) -> list[bytes]:
    """The files of a job, in order; their hashes are those that the job has."""
    folder = server.settings.data_dir / "jobs" / job["workerJobId"] / "in"
    found = [(folder / str(number)).read_bytes() for number in range(len(job["inputs"]))]
    assert [item["sha256"] for item in job["inputs"]] == [hashlib.sha256(data).hexdigest() for data in found]
    return found


async def test_large_ones_are_and_small_ones_keep_their_connection(server: Running) -> None:
    """By the size that the request says it has; a small one's connection takes the next request."""
    hold, content = field("prompt", "hold"), os.urandom(3 * MIB)
    async with server.connect() as raw:
        for size in (1000, MIB):
            status, _, is_kept = await post(raw, form(file(content[:size]), hold))
            assert (status, is_kept) == (201, True)
        status, job, is_kept = await post(raw, form(file(content), hold))
        assert (status, is_kept) == (201, False)
        assert await raw.all() == b""
    assert stored(server, job) == [content]


@pytest.mark.parametrize("overrides", [{"fast_body_mb": 2, "fast_uploads": 1}])
async def test_one_for_which_no_thread_is_free_goes_through_the_parser(server: Running) -> None:
    """It is accepted all the same; the thread comes back, also from a client that goes away."""
    body = form(file(os.urandom(3 * MIB)), field("prompt", "hold"))
    async with server.connect() as first:
        first.send(request_head(headers={**FORM, "Content-Length": str(len(body))}) + body[: 2 * MIB])
        await eventually(lambda: server.context.receivers._free == 0)
        async with server.connect() as second:
            status, _, is_kept = await post(second, body)
            assert (status, is_kept) == (201, True)

    async def is_back() -> bool:
        async with server.connect() as raw:
            status, _, is_kept = await post(raw, body)
        return status == 201 and not is_kept

    await eventually(is_back)


PLACES = range(-len(DELIMITER) - 2, 4)
"""Where a file's end may lie beside a block's: the delimiter before it, over it, behind it."""


@pytest.mark.parametrize("place", slice_of(PLACES, 6, "places of a file's end"))
async def test_a_file_may_end_anywhere_in_a_block(server: Running, place: int) -> None:
    """Also where what looks like a delimiter, but for its last byte, lies over the end of the block before."""
    content = bytearray(os.urandom(2 * BLOCK_BYTES + place))
    almost = DELIMITER[:-1] + b"\0"
    content[BLOCK_BYTES + place : BLOCK_BYTES + place + len(almost)] = almost
    other = almost + os.urandom(BLOCK_BYTES) + DELIMITER[:-1]
    job = await accepted(server, field("language", "de"), file(bytes(content)), file(other), field("prompt", "hold"))
    assert stored(server, job) == [content, other]
    assert (job["options"]["language"], job["options"]["prompt"]) == ("de", "hold")


async def test_what_stands_behind_a_file_is_read_as_well(server: Running) -> None:
    """Small files and options, in the same read as the end of a large one and long after it."""
    files = [os.urandom(size) for size in (3 * MIB, 1, 5000, 3 * MIB + 1, 70_000)]
    body = form(*(file(content) for content in files), field("prompt", "hold"), field("language", "de"))
    async with server.connect() as raw:
        raw.send(request_head(headers={**FORM, "Content-Length": str(len(body))}))
        for start in range(0, len(body), 999_999):
            raw.send(body[start : start + 999_999])
            await raw.writer.drain()
        answer = await raw.all(within_s=60)
    job = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert stored(server, job) == files
    assert (job["options"]["language"], job["options"]["prompt"]) == ("de", "hold")


@pytest.mark.parametrize(("difference", "status"), [(0, 201), (-1, 400), (1, 400)])
async def test_a_parts_own_length_is_held_to(server: Running, difference: int, status: int) -> None:
    """As the parser does: a part that says how long it is, and is not, makes the form invalid."""
    content = os.urandom(5 * MIB)
    length = f"Content-Length: {len(content) + difference}"
    body = form(part('form-data; name="file"; filename="a.wav"', content, length), field("prompt", "hold"))
    async with server.connect() as raw:
        found, answer, is_kept = await post(raw, body)
    assert (found, is_kept) == (status, False), answer
    if status == 400:
        assert answer["error"]["code"] == "BAD_MULTIPART"
        await eventually(lambda: server.files() == [])


@pytest.mark.parametrize("tail", [b"", b"\r\n", DELIMITER, DELIMITER + b"x", DELIMITER + b"\r\nnonsense"])
async def test_a_body_without_its_last_boundary_is_refused(server: Running, tail: bytes) -> None:
    """However large the file was by then; nothing of it stays."""
    async with server.connect() as raw:
        status, answer, _ = await post(raw, file(os.urandom(5 * MIB)).removesuffix(b"\r\n") + tail)
    assert (status, answer["error"]["code"]) == (400, "BAD_MULTIPART"), answer
    await eventually(lambda: server.files() == [] and open_descriptors() == [])


@pytest.mark.parametrize("overrides", [{"fast_body_mb": 2, "max_file_mb": 4}])
async def test_a_file_above_the_limit_is_refused_and_seen(server: Running) -> None:
    """The second of two, which no header announced; the client has sent all before it looks."""
    body = form(file(os.urandom(3 * MIB)), file(bytes(4 * MIB + 1)))
    async with server.connect() as raw:
        status, answer, _ = await post(raw, body)
    assert (status, answer["error"]["code"]) == (413, "FILE_TOO_LARGE"), answer
    await eventually(lambda: server.files() == [] and open_descriptors() == [])


async def test_of_a_resumable_upload_every_byte_that_came_is_kept(
    client: aiohttp.ClientSession, server: Running
) -> None:
    """Cut at places that are no block's, gone on with from the offset that is told, the file is what was sent."""
    content, offset = os.urandom(9 * MIB + 77), 0
    place = await created(client, len(content))
    while offset < len(content):
        rest = content[offset:]
        headers = {**PATCH, "Upload-Offset": str(offset), "Content-Length": str(len(rest))}
        came = min(len(rest), 2 * MIB + 100_001)
        async with server.connect() as raw:
            raw.send(request_head("PATCH", place, headers) + rest[:came])
            await raw.writer.drain()
            raw.writer.write_eof()
            await raw.all(within_s=60)
        await eventually(lambda: not server.service.resumable._writing)
        assert (await looked(client, place)).headers["Upload-Offset"] == str(offset + came)
        offset += came
    assert stored_upload(server, place) == content


@pytest.fixture
async def stuck(server: Running) -> AsyncIterator[Raw]:
    """A client that has sent the first half of a large body."""
    body = form(file(os.urandom(8 * MIB)))
    async with server.connect() as raw:
        raw.send(request_head(headers={**FORM, "Content-Length": str(len(body))}) + body[: 5 * MIB])
        await eventually(lambda: any(name.endswith(".part") for name in server.files()))
        yield raw


@pytest.mark.parametrize("overrides", [{"fast_body_mb": 2, "max_file_mb": 64, "body_idle_s": 0.5}])
async def test_silence_has_its_deadline(server: Running, stuck: Raw) -> None:
    """408, and nothing stays."""
    answer = await stuck.all(within_s=30)
    assert answer.startswith(b"HTTP/1.1 408 ") and b"IDLE_TIMEOUT" in answer
    await eventually(lambda: server.files() == [] and open_descriptors() == [])


async def test_a_server_that_stops_waits_for_no_client(server: Running, stuck: Raw) -> None:
    """The thread that waits for more is woken, and the part file goes."""
    server.drop_connections()
    await eventually(lambda: server.files() == [] and open_descriptors() == [], within_s=20)
    assert server.context.budget.promised_bytes == 0


async def test_a_stop_gives_it_the_time_that_others_get(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not as long again: whoever stops the worker would kill it, and jobs that run with it."""
    monkeypatch.setattr(app, "SHUTDOWN_S", 4.0)
    loop, body = asyncio.get_running_loop(), form(file(os.urandom(8 * MIB)))
    async with AsyncExitStack() as clients:
        async with serving(settings) as server:
            for _ in range(4):
                raw = await clients.enter_async_context(server.connect())
                raw.send(request_head(headers={**FORM, "Content-Length": str(len(body))}) + body[: 5 * MIB])
            await eventually(lambda: len([name for name in server.files() if name.endswith(".part")]) == 4)
            began = loop.time()
        assert loop.time() - began < 2 * app.SHUTDOWN_S
        assert server.files() == [] and open_descriptors() == []


async def test_no_bytes_are_a_next_request(server: Running) -> None:
    """What a client sends behind a large body is never looked at, and does not cost it its answer, as a reset would."""
    body = form(file(os.urandom(3 * MIB)), field("prompt", "hold"))
    for behind in (request_head("DELETE", "/v1/smuggled", AUTH), b"\r\n"):
        async with server.connect() as raw:
            raw.send(request_head(headers={**FORM, "Content-Length": str(len(body))}) + body + behind)
            answer = await asyncio.wait_for(raw.reader.read(), 60)
        assert answer.startswith(b"HTTP/1.1 201 ") and answer.count(b"HTTP/1.1 ") == 1
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["workerJobId"]
