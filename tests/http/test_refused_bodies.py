"""What a client goes on sending after its refusal: taken within limits, so that the answer is seen, and no further."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from btworker.config import Settings
from btworker.web.app import SHUTDOWN_S
from tests.http.server import FORM, Raw, Running, file, form, request_head, serving
from tests.waiting import eventually

MIB = 2**20
BODY = form(file(bytes(24 * MIB)))
"""More than the buffers of both ends, and less than the largest file."""
PART_BYTES = MIB // 2


@pytest.fixture
def overrides() -> dict[str, object]:
    return {"max_file_mb": 32}


def head(body_bytes: int, *, token: bool = False, path: str = "/v1/jobs", **more: str) -> bytes:
    """An upload that is refused where it has no token, or another path."""
    return request_head(path=path, headers={**FORM, "Content-Length": str(body_bytes), **more}, token=token)


async def pour(raw: Raw, data: bytes, *, within_s: float = 30.0) -> int:
    """Send without reading, as most clients do; the bytes that were taken before the connection broke."""
    sent = 0
    with contextlib.suppress(ConnectionError, asyncio.TimeoutError):
        for start in range(0, len(data), MIB // 4):
            piece = data[start : start + MIB // 4]
            raw.send(piece)
            await asyncio.wait_for(raw.writer.drain(), within_s)
            sent += len(piece)
    return sent


def answer_in(found: bytes) -> tuple[int, dict[str, Any]]:
    """The status and the error of the only answer."""
    assert found.count(b"HTTP/1.1 ") == 1, found[:500]
    head, _, body = found.partition(b"\r\n\r\n")
    assert b"Connection: close" in head
    return int(head.split()[1]), json.loads(body)["error"]


@contextlib.asynccontextmanager
async def refused(server: Running, **more: Any) -> AsyncIterator[Raw]:
    """A client in the middle of a body that was refused: it has sent a part, and seen the answer."""
    async with server.connect() as raw:
        raw.send(head(len(BODY), **more))
        await pour(raw, BODY[:PART_BYTES])
        assert answer_in(await raw.until(b"}}"))[0] in (401, 404)
        yield raw


REFUSALS = {
    401: {"token": False},
    404: {"token": True, "path": "/v1/nothing"},
    405: {"token": True, "path": "/v1/models"},
    412: {"token": True, "path": "/v1/uploads"},
    415: {"token": True, "Content-Type": "audio/wav"},
    507: {"token": True},
}


@pytest.mark.parametrize("status", REFUSALS)
async def test_who_sends_all_before_reading_sees_the_refusal(server: Running, status: int) -> None:
    """Up to the size of the largest file; the body is nobody's next request, and nothing of it stays."""
    server.context.budget.promised_bytes = 2**60 if status == 507 else 0
    async with server.connect() as raw:
        raw.send(head(len(BODY), **REFUSALS[status]))
        assert await pour(raw, BODY) == len(BODY)
        assert answer_in(await raw.all())[0] == status
    assert server.files() == []


async def test_a_refusal_in_the_middle_of_a_body_is_seen(server: Running) -> None:
    """A file above the limit, an option that comes after the file, and a body without a length."""
    above = form(file(bytes(40 * MIB)))
    late = b"".join((file(bytes(MIB)), b"--", FORM["Content-Type"].partition("=")[2].encode(), b"\r\nX\r\n\r\n", BODY))
    for body, expected in ((above, (413, "FILE_TOO_LARGE")), (late, (400, "BAD_MULTIPART"))):
        async with server.connect() as raw:
            raw.send(head(len(body), token=True))
            assert await pour(raw, body) == len(body)
            status, error = answer_in(await raw.all())
        assert (status, error["code"]) == expected
    async with server.connect() as raw:
        raw.send(request_head(headers={**FORM, "Transfer-Encoding": "chunked"}, token=False))
        chunks = b"".join(b"40000\r\n%b\r\n" % bytes(0x40000) for _ in range(80)) + b"0\r\n\r\n"
        assert await pour(raw, chunks) == len(chunks)
        assert answer_in(await raw.all())[0] == 401
    await eventually(lambda: server.files() == [])


@pytest.mark.parametrize("overrides", [{"max_file_mb": 32, "refused_drain_mb": 2}])
async def test_no_more_is_taken_than_the_limit(server: Running) -> None:
    """Of a body without a length; one that says that it is longer is not begun with. The answer is there all the same
    for a client that looks for it."""
    endless = b"".join(b"40000\r\n%b\r\n" % bytes(0x40000) for _ in range(400))
    for heading, body in (
        (request_head(headers={**FORM, "Transfer-Encoding": "chunked"}, token=False), endless),
        (head(len(endless)), endless),
    ):
        async with server.connect() as raw:
            raw.send(heading)
            assert answer_in(await raw.until(b"}}"))[0] == 401
            assert await pour(raw, body) < 40 * MIB


@pytest.mark.parametrize("overrides", [{"max_file_mb": 32, "refused_drain_s": 0.3}])
async def test_it_ends_in_time(server: Running) -> None:
    """A client that stops in the middle cannot hold the connection."""
    async with refused(server) as raw:
        assert await raw.all(within_s=20) == b""
        assert await pour(raw, bytes(64 * MIB)) < 40 * MIB


@pytest.mark.parametrize(
    "overrides", [{"max_file_mb": 32, "refused_drain_connections": 2, "refused_drain_strangers": 1}]
)
async def test_places_are_few_and_come_back(server: Running) -> None:
    """One for strangers, and two altogether; who finds none is let go soon, and who leaves one makes room."""
    known = {"token": True, "path": "/v1/nothing"}
    async with refused(server) as first, refused(server, **known) as second:
        for more in ({}, known):
            async with refused(server, **more) as one_too_many:
                assert await one_too_many.all(within_s=20) == b""
        for raw in (first, second):
            assert await pour(raw, BODY[PART_BYTES:]) == len(BODY) - PART_BYTES
            assert await raw.all() == b""
    async with refused(server) as again:
        assert await pour(again, BODY[PART_BYTES:]) == len(BODY) - PART_BYTES


async def test_who_asked_first_is_not_waited_for(server: Running) -> None:
    """After `Expect: 100-continue` and a refusal nothing comes: no place is held for it. Once the body was invited, it
    is taken like any other."""
    async with server.connect() as raw:
        raw.send(head(len(BODY), Expect="100-continue"))
        assert answer_in(await raw.all(within_s=20))[0] == 401
    above = form(file(bytes(40 * MIB)))
    async with server.connect() as raw:
        raw.send(head(len(above), token=True, Expect="100-continue"))
        await raw.until(b"100 Continue\r\n\r\n")
        assert await pour(raw, above) == len(above)
        assert answer_in(await raw.all())[0] == 413


async def test_a_stop_waits_for_none(settings: Settings) -> None:
    """The server's end is not held up by a body that nobody wants."""
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as clients:
        async with serving(settings) as server:
            raws = [await clients.enter_async_context(refused(server)) for _ in range(3)]
            began = loop.time()
        assert loop.time() - began < SHUTDOWN_S
        for raw in raws:
            assert await raw.all(within_s=20) == b""
