"""The client against servers that misbehave: what the real server cannot be made to do at will."""

import asyncio
import os
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from btworker.client import Client, ClientError
from btworker.client.download import safe_name

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
REFUSAL = b'{"error": {"code": "FILE_TOO_LARGE", "message": "at most 2000 MB", "type": "invalid", "param": null}}'
JOB = {"workerJobId": "wk_0123456789abcdef", "status": "queued", "stage": "queued"}


@asynccontextmanager
async def ends_its_tasks() -> AsyncIterator[None]:
    """A closed server's connections end a moment later; wait for that."""
    before = asyncio.all_tasks()
    yield
    if remaining := asyncio.all_tasks() - before:
        await asyncio.wait(remaining, timeout=5)


@asynccontextmanager
async def raw_server(handler: Handler) -> AsyncIterator[str]:
    """A server of bytes; gives its address."""
    async with ends_its_tasks():
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()


@asynccontextmanager
async def http_server(*routes: web.RouteDef) -> AsyncIterator[str]:
    """A well-behaved HTTP server; gives its address."""
    app = web.Application(client_max_size=2**40)
    app.add_routes(routes)
    runner = web.AppRunner(app, lingering_time=0.1)
    async with ends_its_tasks():
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


@pytest.fixture
def large_file(tmp_path: Path) -> Path:
    """256 MB that take no disk."""
    path = tmp_path / "large.wav"
    with open(path, "wb") as file:
        file.truncate(2**28)
    return path


def refuse(*, body_bytes: int, reset: bool) -> Handler:
    """Ask for the body, read some of it, answer 413 and hang up, rudely if asked."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if body_bytes:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await reader.readexactly(body_bytes)
        headers = b"Content-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(REFUSAL)
        writer.write(b"HTTP/1.1 413 Too Large\r\n" + headers + REFUSAL)
        await writer.drain()
        if reset:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.close()

    return handle


@pytest.mark.parametrize("body_bytes", [0, 100, 2**20, 50 * 2**20])
@pytest.mark.parametrize("reset", [False, True])
async def test_early_refusal_is_heard(large_file: Path, body_bytes: int, reset: bool) -> None:
    """A server that refuses before or in the middle of the upload is quoted, even if it resets the connection."""
    async with raw_server(refuse(body_bytes=body_bytes, reset=reset)) as url, Client(url, "t") as client:
        with pytest.raises(ClientError) as caught:
            await client.submit([large_file])
    assert (caught.value.code, caught.value.status) == ("FILE_TOO_LARGE", 413)


async def test_nothing_is_sent_when_the_headers_say_no(large_file: Path) -> None:
    """A refusal of the headers costs no byte of the file."""
    sent: list[int] = []
    async with raw_server(refuse(body_bytes=0, reset=False)) as url, Client(url, "t") as client:
        with pytest.raises(ClientError):
            await client.submit([large_file], on_progress=lambda done, _: sent.append(done))
    assert sent == []


async def test_a_cut_upload_is_tried_again_under_the_same_key(large_file: Path) -> None:
    """A connection that breaks in the middle is made again, with the same Idempotency-Key."""
    keys: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        keys.append(request.headers["Idempotency-Key"])
        if len(keys) == 1:
            await request.content.readexactly(2**20)
            assert request.transport is not None
            request.transport.abort()
        size_bytes = 0
        async for chunk in request.content.iter_any():
            size_bytes += len(chunk)
        assert size_bytes == request.content_length
        return web.json_response(JOB, status=201)

    async with http_server(web.post("/v1/jobs", handle)) as url, Client(url, "t") as client:
        job = await client.submit([large_file])
    assert job.id == JOB["workerJobId"]
    assert len(keys) == 2
    assert len(set(keys)) == 1


@pytest.mark.parametrize("refuses", [False, True])
async def test_a_proxy_without_expect_still_gets_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuses: bool
) -> None:
    """An old proxy that ignores `Expect: 100-continue`, or answers 417, costs a moment, not the upload."""
    monkeypatch.setattr("btworker.client.send.EXPECT_S", 0.2)
    (tmp_path / "a.wav").write_bytes(b"12345")

    async def ignore(request: web.Request) -> None:
        if refuses:
            raise web.HTTPExpectationFailed

    async def handle(request: web.Request) -> web.Response:
        body = await request.read()
        assert b"12345" in body
        return web.json_response(JOB, status=201)

    route = web.post("/v1/jobs", handle, expect_handler=ignore)
    async with http_server(route) as url, Client(url, "t") as client:
        assert (await client.submit([tmp_path / "a.wav"])).id == JOB["workerJobId"]


async def test_names_and_options_arrive_as_they_are(tmp_path: Path) -> None:
    """Quotes, newlines, emoji and bytes that are no UTF-8 in a file name neither break the form nor forge a field."""
    names = ['say "hi".wav', "two\r\nlines.wav", "🎙 gespräch.wav", os.fsdecode(b"latin-\xe9.wav")]
    for name in names:
        (tmp_path / name).write_bytes(b"x" * 10)
    seen: list[tuple[str | None, str | None, bytes]] = []

    async def handle(request: web.Request) -> web.Response:
        async for part in await request.multipart():
            assert not isinstance(part, web.BaseRequest)
            seen.append((part.name, part.filename, await part.read()))  # type: ignore[union-attr]
        return web.json_response(JOB, status=201)

    async with http_server(web.post("/v1/jobs", handle)) as url, Client(url, "t") as client:
        await client.submit([tmp_path / name for name in names], {"language": "de", "outputs": ["srt"]})
    assert seen[0] == ("options", None, b'{"language": "de", "outputs": ["srt"]}')
    assert [name for name, _, _ in seen[1:]] == ["file"] * 4
    assert seen[3][1] == "🎙 gespräch.wav"
    assert all(body == b"x" * 10 for _, _, body in seen[1:])


async def test_a_file_that_shrinks_is_named(tmp_path: Path) -> None:
    """A file that gets shorter while it is sent is the user's problem to hear of, not a lost connection."""
    path = tmp_path / "shrinks.wav"
    path.write_bytes(bytes(2**26))

    async def handle(request: web.Request) -> web.Response:
        os.truncate(path, 2**20)
        await request.read()
        return web.json_response(JOB, status=201)

    async with http_server(web.post("/v1/jobs", handle)) as url, Client(url, "t") as client:
        with pytest.raises(ClientError, match="became shorter") as caught:
            await client.submit([path])
    assert caught.value.code == "BAD_FILE"


async def test_wait_survives_a_restart_of_the_server() -> None:
    """While the server is away `wait` goes on asking; the job ends for it as if nothing had been."""
    looks: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        looks.append("look")
        if 2 <= len(looks) <= 4:
            assert request.transport is not None
            request.transport.abort()
        if len(looks) == 5:  # a proxy speaks for the server
            return web.Response(status=502, text="<html>bad gateway</html>")
        return web.json_response({**JOB, "status": "complete" if len(looks) > 6 else "running"})

    async with http_server(web.get("/v1/jobs/{id}", handle)) as url, Client(url, "t") as client:
        job = await client.wait(str(JOB["workerJobId"]), timeout_s=10)
    assert job.status.finished


async def test_a_cut_download_leaves_nothing(tmp_path: Path) -> None:
    """A download that breaks leaves neither a half file under the right name nor a .part."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nonly this")
        await writer.drain()
        writer.close()

    async with raw_server(handle) as url, Client(url, "t") as client:
        with pytest.raises(ClientError) as caught:
            await client.download("wk_0", "talk.srt", tmp_path)
    assert caught.value.code == "CONNECTION_LOST"
    assert list(tmp_path.iterdir()) == []


async def test_a_damaged_download_is_refused(tmp_path: Path) -> None:
    """A file whose hash is not the one of the job is not kept."""

    async def handle(request: web.Request) -> web.Response:
        return web.Response(body=b"tampered")

    route = web.get("/v1/jobs/{id}/outputs/{name}", handle)
    async with http_server(route) as url, Client(url, "t") as client:
        with pytest.raises(ClientError, match="SHA-256"):
            await client.download("wk_0", "talk.srt", tmp_path, sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", ".", "..", "a/..", ".bashrc", "x\0y", "a\nb", " ", "a" * 300])
def test_odd_names_from_the_server_are_refused(name: str) -> None:
    """A name that is no plain file name never becomes one."""
    with pytest.raises(ClientError):
        safe_name(name)


@pytest.mark.parametrize(
    ("name", "safe"), [("../../etc/talk.srt", "talk.srt"), ("C:\\a\\b.md", "b.md"), ("ü.md", "ü.md")]
)
def test_only_the_last_component_counts(name: str, safe: str) -> None:
    """Folders in a server's name are cut off."""
    assert safe_name(name) == safe


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "http://no-such-host.invalid", "http://", "not an address", "127.0.0.1:1"]
)
async def test_an_unreachable_server_is_one_sentence(url: str) -> None:
    """No answer gives one sentence with the address, never a stack of library errors."""
    async with Client(url, "t") as client:
        with pytest.raises(ClientError) as caught:
            await client.ping()
    assert caught.value.code == "UNREACHABLE"
    assert len(caught.value.message) < 120
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("body", [b"<html>login</html>", b"", b"[1]", b'{"status": "ok"'])
async def test_something_else_at_the_address_is_said(body: bytes) -> None:
    """A proxy's page in place of the worker is named as such."""

    async def handle(request: web.Request) -> web.Response:
        kind = "application/json" if body.startswith((b"[", b"{")) else "text/html"
        return web.Response(body=body, content_type=kind)

    async with http_server(web.get("/v1/ping", handle)) as url, Client(url, "t") as client:
        with pytest.raises(ClientError, match="is this a btworker"):
            await client.ping()


async def test_memory_stays_flat(tmp_path: Path) -> None:
    """2 GiB through the client cost it no more than 16 MB over what 16 MiB cost."""
    script = (
        "import asyncio, resource, sys\n"
        "from btworker.client import Client\n"
        "async def main():\n"
        "    async with Client(sys.argv[1], 't') as client:\n"
        "        await client.submit([sys.argv[2]])\n"
        "asyncio.run(main())\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )

    async def handle(request: web.Request) -> web.Response:
        async for _ in request.content.iter_any():
            pass
        return web.json_response(JOB, status=201)

    async def peak_kb(url: str, size_bytes: int) -> int:
        path = tmp_path / f"{size_bytes}.wav"
        with open(path, "wb") as file:
            file.truncate(size_bytes)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", script, url, str(path), stdout=subprocess.PIPE
        )
        out, _ = await process.communicate()
        return int(out)

    async with http_server(web.post("/v1/jobs", handle)) as url:
        small_kb, large_kb = await peak_kb(url, 2**24), await peak_kb(url, 2**31)
    assert large_kb - small_kb < 16 * 1024
