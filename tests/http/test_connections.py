"""What clients do to connections: expect, smuggle, dawdle, vanish. Raw sockets against the real server."""

import asyncio
import contextlib
import os
import socket
import struct
import time

import aiohttp
import pytest

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
    request_head,
    upload,
)
from tests.slices import FULL
from tests.waiting import eventually

SMUGGLED = b"GET /v1/smuggled HTTP/1.1\r\nHost: t\r\n" + f"Authorization: {AUTH['Authorization']}\r\n\r\n".encode()
HUGE = str(5 * 10**9)


async def test_a_welcome_expectation_is_answered_100_and_then_201(server: Running) -> None:
    """100 only once every look before the body was passed; the body is sent after it."""
    body = form(file(b"abc"))
    async with server.connect() as raw:
        raw.send(request_head(headers={**FORM, "Expect": "100-continue", "Content-Length": str(len(body))}))
        assert await raw.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        raw.send(body)
        assert (await raw.until(b"\r\n")).startswith(b"HTTP/1.1 201 ")


EXPECT = {"Expect": "100-continue", "Content-Length": HUGE}
UNWELCOME = {
    "no token": (request_head(headers={**FORM, **EXPECT}, token=False), 401),
    "too large": (request_head(headers={**FORM, **EXPECT, "Content-Length": str(10**15)}), 413),
    "content type": (request_head(headers={"Content-Type": "audio/wav", **EXPECT}), 415),
    "content encoding": (request_head(headers={**FORM, "Content-Encoding": "gzip", **EXPECT}), 415),
    "no boundary": (request_head(headers={"Content-Type": "multipart/form-data", **EXPECT}), 400),
    "no such path": (request_head(path="/v1/nothing", headers={**FORM, **EXPECT}), 404),
    "no such path, no token": (request_head(path="/v1/nothing", headers={**FORM, **EXPECT}, token=False), 401),
    "no such method": (request_head("PUT", headers={**FORM, **EXPECT}), 405),
    "no such job": (request_head(path="/v1/jobs/wk_0123456789abcdef/cancel", headers={**FORM, **EXPECT}), 404),
    "an open path": (request_head("GET", "/health", {**FORM, **EXPECT}), 200),
}


@pytest.mark.parametrize("name", UNWELCOME)
async def test_an_unwelcome_body_is_never_invited(server: Running, name: str) -> None:
    """The first and only thing that the client reads is the final answer; then the connection closes."""
    head, status = UNWELCOME[name]
    async with server.connect() as raw:
        raw.send(head)
        answer = await raw.all()
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close" in answer
    assert server.files() == []


@pytest.mark.parametrize("overrides", [{"disk_reserve_mb": 2**30}])
async def test_a_full_disk_does_not_invite_a_body(server: Running) -> None:
    async with server.connect() as raw:
        raw.send(request_head(headers={**FORM, **EXPECT, "Content-Length": "1000"}))
        answer = await raw.all()
    assert answer.startswith(b"HTTP/1.1 507 ")


async def test_draining_does_not_invite_a_body(server: Running) -> None:
    server.service.begin_drain()
    async with server.connect() as raw:
        raw.send(request_head(headers={**FORM, **EXPECT}))
        answer = await raw.all()
    assert answer.startswith(b"HTTP/1.1 503 ")


async def test_a_known_key_does_not_invite_a_body(client: aiohttp.ClientSession, server: Running) -> None:
    _, job = await upload(client, file(b"abc"), field("prompt", "hold"), Idempotency_Key="k")
    async with server.connect() as raw:
        raw.send(request_head(headers={**FORM, **EXPECT, "Idempotency-Key": "k"}))
        answer = await raw.all()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert job["workerJobId"].encode() in answer


EARLY = {
    "401": (request_head(headers={**FORM, "Content-Length": HUGE}, token=False), 401),
    "404": (request_head(path="/v1/nothing", headers={"Content-Length": HUGE}), 404),
    "405": (request_head("PUT", headers={"Content-Length": HUGE}), 405),
    "413": (request_head(headers={**FORM, "Content-Length": str(10**15)}), 413),
    "415": (request_head(headers={"Content-Type": "audio/wav", "Content-Length": HUGE}), 415),
    "401 chunked": (request_head(headers={**FORM, "Transfer-Encoding": "chunked"}, token=False), 401),
    "404 chunked": (request_head(path="/v1/nothing", headers={"Transfer-Encoding": "chunked"}), 404),
    "415 chunked": (request_head(headers={"Transfer-Encoding": "chunked"}), 415),
    "a body where none is wanted": (request_head("GET", "/v1/ping", {"Content-Length": HUGE}), 200),
}


@pytest.mark.parametrize("name", EARLY)
async def test_a_body_is_never_a_next_request(server: Running, name: str) -> None:
    """A client that goes on sending: one answer, which it gets to see, a bounded number of bytes taken, the end."""
    head, status = EARLY[name]
    chunked = b"chunked" in head
    block = SMUGGLED * 1000
    piece = f"{len(block):x}\r\n".encode() + block + b"\r\n" if chunked else block
    sent = 0
    async with server.connect() as raw:
        raw.send(head)
        answers = asyncio.create_task(raw.all(within_s=20))
        with contextlib.suppress(ConnectionError):
            while not answers.done() and sent < 5 * 10**8:
                raw.send(piece)
                sent += len(piece)
                await raw.writer.drain()
        answer = await answers
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), (answer[:100], sent)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"smuggled" not in answer
    assert sent < 10**8, "the server went on reading"


async def test_a_request_behind_a_refused_complete_body_is_its_own(server: Running) -> None:
    """A small body that has arrived whole ends where its length says; what follows is a request of its own."""
    async with server.connect() as raw:
        raw.send(request_head(headers={"Content-Type": "audio/wav", "Content-Length": "5"}) + b"12345")
        raw.send(request_head("GET", "/health", {"Connection": "close"}))
        answer = await raw.all()
    assert answer.startswith(b"HTTP/1.1 415 ")
    assert answer.count(b"HTTP/1.1 ") in (1, 2)


async def test_two_framings_at_once_are_refused(server: Running) -> None:
    """Content-Length with Transfer-Encoding is how requests are smuggled."""
    async with server.connect() as raw:
        raw.send(
            request_head(headers={**FORM, "Content-Length": "5", "Transfer-Encoding": "chunked"})
            + b"0\r\n\r\n"
            + SMUGGLED
        )
        answer = await raw.all()
    assert answer.split(b" ", 2)[1] == b"400"
    assert answer.count(b"HTTP/1.") == 1


@pytest.mark.parametrize("overrides", [{"header_timeout_s": 0.3}])
@pytest.mark.parametrize("sent", [b"", b"GET /health HTTP/1.1\r\nHost: t\r\nX: "])
async def test_slow_headers_end_the_connection(server: Running, sent: bytes) -> None:
    """Also when a byte comes now and then."""
    began = time.monotonic()
    async with server.connect() as raw:
        raw.send(sent)
        closed = asyncio.create_task(raw.all())
        while not closed.done() and time.monotonic() - began < 8:
            if sent:
                with contextlib.suppress(ConnectionError):
                    raw.send(b"y")
            await asyncio.sleep(0.05)
        assert closed.done()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("overrides", [{"header_timeout_s": 0.5}])
async def test_many_slow_clients_do_not_slow_a_normal_one(client: aiohttp.ClientSession, server: Running) -> None:
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(200):
            raw = await stack.enter_async_context(server.connect())
            raw.send(b"GET /health HTTP/1.1\r\nX: ")
        began = time.monotonic()
        for _ in range(20):
            async with client.get("/v1/ping") as response:
                assert response.status == 200
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("overrides", [{"body_idle_s": 0.3}])
@pytest.mark.parametrize(
    "start",
    [b"", form(file(b"x" * 2_000_000))[:1_500_000], form(file(b"abc"))[:-4]],
    ids=["nothing", "some", "nearly all"],
)
async def test_an_idle_body_is_408_and_leaves_nothing(server: Running, start: bytes) -> None:
    async with server.connect() as raw:
        raw.send(request_head(headers={**FORM, "Content-Length": "3000000"}) + start)
        answer = await raw.all()
    assert answer.startswith(b"HTTP/1.1 408 "), answer
    assert b'"IDLE_TIMEOUT"' in answer
    assert server.files() == []
    assert open_descriptors() == []


@pytest.mark.parametrize("overrides", [{"body_idle_s": 0.5}])
async def test_a_slow_body_that_moves_is_accepted(server: Running) -> None:
    """The deadline is for silence, not for the whole upload."""
    body = form(file(b"x" * 1000))
    async with server.connect() as raw:
        raw.send(request_head(headers={**FORM, "Content-Length": str(len(body))}))
        for start in range(0, len(body), 120):
            raw.send(body[start : start + 120])
            await asyncio.sleep(0.1)
        assert (await raw.until(b"\r\n")).startswith(b"HTTP/1.1 201 ")


def _reset(raw: Raw) -> None:
    """Close with RST instead of FIN."""
    sock = raw.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.writer.transport.abort()


ABORTS = 100 if FULL else 16


@pytest.mark.parametrize("ending", ["fin", "rst"])
async def test_an_upload_that_ends_early_leaves_nothing(server: Running, ending: str) -> None:
    """Cut anywhere: in the headers, in a part's head, in the file, at a boundary; no file, no descriptor."""
    body = form(field("language", "de"), file(os.urandom(3_000_000)), file(os.urandom(200_000)))
    for number in range(ABORTS):
        cut = len(body) * number // ABORTS
        async with server.connect() as raw:
            raw.send(request_head(headers={**FORM, "Content-Length": str(len(body))}) + body[:cut])
            await raw.writer.drain()
            if ending == "rst":
                _reset(raw)
    await eventually(lambda: server.files() == [] and open_descriptors() == [])
    async with aiohttp.ClientSession(server.url, headers=AUTH) as session:
        status, _ = await upload(session, file(b"abc"), field("prompt", "hold"))
    assert status == 201


async def test_a_server_that_stops_under_an_upload_leaves_nothing(server: Running) -> None:
    """The other end goes first: the part file goes too."""
    async with server.connect() as raw:
        raw.send(request_head(headers={**FORM, "Content-Length": "5000000"}) + form(file(b"x" * 2_000_000))[:1_900_000])
        await eventually(lambda: any(name.endswith(".part") for name in server.files()))
        server.drop_connections()
        await eventually(lambda: server.files() == [] and open_descriptors() == [])


async def test_bytes_of_uploads_are_counted(server: Running) -> None:
    """The room that an upload was promised is given back, however it ends."""
    async with server.connect() as raw:
        raw.send(request_head(headers={**FORM, "Content-Length": "5000000"}) + form(file(b"x" * 500_000))[:400_000])
        await eventually(lambda: server.context.budget.promised_bytes > 0)
    await eventually(lambda: server.context.budget.promised_bytes == 0)


async def test_a_boundary_in_every_place_of_a_chunk(server: Running) -> None:
    """Byte by byte over the wire, the file arrives as it was."""
    content = f"\r\n--{BOUNDARY[:-1]}\r\n--\r\n\r\r\n-{BOUNDARY}".encode()
    body = form(file(content), field("prompt", "hold"))
    async with server.connect() as raw:
        raw.send(request_head(headers={**FORM, "Transfer-Encoding": "chunked"}))
        for byte in body:
            raw.send(b"1\r\n" + bytes([byte]) + b"\r\n")
            await asyncio.sleep(0)
        raw.send(b"0\r\n\r\n")
        assert (await raw.until(b"\r\n")).startswith(b"HTTP/1.1 201 ")
    [name] = [name for name in server.files() if name.endswith("/in/0")]
    assert (server.settings.data_dir / "jobs" / name).read_bytes() == content


async def test_a_client_that_leaves_while_it_waits_for_its_text_is_let_go(server: Running) -> None:
    """Nothing of it is held until its job, which may take hours, has ended; who stays gets the answer."""

    def waiting() -> int:
        return len([task for task in asyncio.all_tasks() if task.get_name().startswith("openai-")])

    async with server.connect() as stays:
        async with server.connect() as leaves:
            for raw in (stays, leaves):
                body = form(field("prompt", "hold"), file(os.urandom(3 * 2**20)))
                headers = {**FORM, "Content-Length": str(len(body))}
                raw.send(request_head(path="/v1/audio/transcriptions", headers=headers) + body)
            await eventually(lambda: waiting() == 2)
        await eventually(lambda: waiting() == 1)
        assert server.service.active() == 2
        server.pool.release.set()
        assert b"error" in (await stays.until(b"}", within_s=60))  # a job that was held has no text
