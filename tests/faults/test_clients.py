"""R13, R15, R16, R17, R25: clients that vanish, go on talking, dawdle, or come in thousands. The real server process,
raw sockets. (tests/http has the same promises in detail, in one process.)
"""

import asyncio
import contextlib
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.faults.clients import (
    BOUNDARY,
    SLOW,
    WAYS,
    body_of,
    descriptors,
    folders_of,
    head,
    memory_mb,
    open_files,
    post,
)
from tests.http.server import Raw
from tests.process.server_of import TOKEN, Server, serving
from tests.security.wire import exchange
from tests.slices import FULL, luck_of, slice_of
from tests.waiting import eventually

HUGE = str(5 * 10**9)
LARGE = str(2 * 10**6)
"""There is room for 500 of these."""
ENDS = 100 if FULL else 24
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
SMUGGLED = f"GET /v1/smuggled HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()


@contextlib.asynccontextmanager
async def connection(server: Server) -> AsyncIterator[Raw]:
    """A raw connection."""
    host, port = server.url.removeprefix("http://").rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def end_early(server: Server, body: bytes, cut: int, ending: str) -> None:
    """One upload that stops after `cut` bytes: a close, a reset, or silence that the server has to end."""
    async with connection(server) as raw:
        raw.send(head(**FORM, Content_Length=len(body)) + body[:cut])
        with contextlib.suppress(ConnectionError):
            await raw.writer.drain()
            if ending == "reset":
                linger = struct.pack("ii", 1, 0)
                raw.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                raw.writer.transport.abort()
            elif ending == "half-open":
                assert (await raw.all(within_s=60)).startswith(b"HTTP/1.1 408 ")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", slice_of(list(WAYS), 1, "ways of an upload that ends early"))
async def test_uploads_that_end_early_leave_nothing(tmp_path: Path, way: str) -> None:
    """R13: closed, reset or silent, at any byte, many at once: no file, no folder and no descriptor stays."""
    with serving(tmp_path, **SLOW, **WAYS[way], WORKER_BODY_IDLE_SECONDS="1") as server:
        assert post(server, body_of(b"warm"))[0] == 201
        kept = folders_of(tmp_path)
        before = descriptors(server)
        body = body_of(os.urandom(2_500_000), language="de")
        endings = [("close", "reset", "half-open")[number % 3] for number in range(ENDS)]
        luck = luck_of("uploads that end early")
        cuts = [luck.randrange(len(body)) if number % 5 else number for number in range(ENDS)]
        for start in range(0, ENDS, 12):
            batch = zip(cuts[start : start + 12], endings[start : start + 12], strict=True)
            await asyncio.gather(*(end_early(server, body, cut, ending) for cut, ending in batch))
        await eventually(lambda: folders_of(tmp_path) == kept and open_files(server.process.pid) == [])
        await eventually(lambda: descriptors(server) <= before)
        assert post(server, body)[0] == 201


EARLY = {
    401: head(token=False, **FORM, Content_Length=HUGE),
    404: head(path="/v1/nothing", Content_Length=HUGE),
    405: head("PUT", Content_Length=HUGE),
    413: head(**FORM, Content_Length=10**15),
    415: head(Content_Type="audio/wav", Content_Length=HUGE),
    507: head(**FORM, Content_Length=HUGE),
}
EXPECTATIONS = {status: raw.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n") for status, raw in EARLY.items()}
NO_ROOM = {"WORKER_DISK_RESERVE_MB": "1000000000", "WORKER_MAX_FILE_MB": "20000"}


def refusal(server: Server, status: int) -> bool:
    """Send a body of 5 GB full of requests until the server ends it: whether the client saw the status."""
    block, sent = SMUGGLED * 1000, 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        yield EARLY[status]
        while sent < 5 * 10**8:
            sent += len(block)
            yield block

    answer = exchange(int(server.url.rsplit(":", 1)[1]), pieces())
    assert answer.raw.count(b"HTTP/1.1 ") <= 1 and b"smuggled" not in answer.raw
    assert sent < 10**8, "the server went on reading"
    return answer.status == status


@pytest.mark.timeout(300)
def test_an_early_refusal_is_the_only_answer(tmp_path: Path) -> None:
    """R15: whatever the body holds, one answer, seen by 99 of 100 clients; a bounded number of bytes is taken."""
    count = 100 if FULL else 18
    with serving(tmp_path, **SLOW, **NO_ROOM, WORKER_REFUSED_DRAIN_MB="16") as server:
        statuses = [list(EARLY)[number % len(EARLY)] for number in range(count)]
        seen = [refusal(server, status) for status in statuses]
        assert sum(seen) >= 0.99 * count, [status for status, saw in zip(statuses, seen, strict=True) if not saw]
        assert "/v1/smuggled" not in server.log.read_text()
        assert folders_of(tmp_path) == set()


async def test_an_unwelcome_body_is_not_asked_for(tmp_path: Path) -> None:
    """R16: with Expect: 100-continue the final refusal is the first and only thing that is said."""
    with serving(tmp_path, **SLOW, **NO_ROOM) as server:
        for status, raw_head in EXPECTATIONS.items():
            async with connection(server) as raw:
                raw.send(raw_head)
                answer = await raw.all(within_s=60)
            assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
            assert answer.count(b"HTTP/1.1 ") == 1 and b"Connection: close" in answer


@pytest.mark.timeout(300)
async def test_slow_clients_starve_nobody(tmp_path: Path) -> None:
    """R17: 1,000 sockets that dribble headers or a body, beside a client whose requests are all answered; the slow ones
    end by the deadlines for headers and for a silent body."""
    count, deadline_s = (1000, "30") if FULL else (300, "5")  # on a busy machine, connecting them all takes seconds
    settings = {"WORKER_HEADER_TIMEOUT_SECONDS": deadline_s, "WORKER_BODY_IDLE_SECONDS": deadline_s}
    settings |= {"WORKER_STRANGER_CONNECTIONS": str(count * 2)}  # else the oldest are closed at once
    settings |= {"WORKER_FAST_BODY_MB": "1"}  # some bodies have a thread, the others have not
    with serving(tmp_path, **SLOW, **settings) as server:
        assert post(server, body_of(b"warm"))[0] == 201
        before = descriptors(server)
        starts = (b"GET /health HTTP/1.1\r\nX: ", head(**FORM, Content_Length=LARGE) + body_of(b"x" * 999)[:900])
        async with contextlib.AsyncExitStack() as stack:
            slow = [await stack.enter_async_context(connection(server)) for _ in range(count)]
            for number, raw in enumerate(slow):
                raw.send(starts[number % 2])
            await eventually(lambda: descriptors(server) >= before + count // 2)
            waits = []
            for _ in range(200):
                began = time.monotonic()
                status, _ = await asyncio.to_thread(server.request, "GET", "/v1/ping")
                waits.append(time.monotonic() - began)
                assert status == 200
            assert (await asyncio.to_thread(post, server, body_of(b"a normal one")))[0] == 201
            print(f"{count} slow sockets: a normal client's p99 {sorted(waits)[-3] * 1000:.0f} ms")
            assert sorted(waits)[-3] < 10  # generous: this machine may be busy
            await asyncio.gather(*(raw.all(within_s=120) for raw in slow))
        await eventually(lambda: descriptors(server) <= before)


async def flood(server: Server, numbers: list[int]) -> list[tuple[int, str | None]]:
    """Submissions one after the other over one connection where it stays open; (status, Retry-After) of each."""
    seen = []
    body = body_of(b"one of many")
    while numbers:
        async with connection(server) as raw:
            while numbers:
                numbers.pop()
                raw.send(head(**FORM, Content_Length=len(body)) + body)
                answer = await raw.until(b"\r\n\r\n", within_s=120)
                lines = answer.decode("latin-1").split("\r\n")
                fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
                await raw.reader.readexactly(int(fields["content-length"]))
                seen.append((int(lines[0].split()[1]), fields.get("retry-after")))
                if fields.get("connection") == "close":
                    break
    return seen


@pytest.mark.timeout(600)
async def test_back_pressure_is_explicit(tmp_path: Path) -> None:
    """R25: 10,000 submissions: the queue takes what it may, the others get 429 with Retry-After; memory is flat."""
    count, limit = (10_000, 1000) if FULL else (1500, 100)
    with serving(tmp_path, **SLOW, WORKER_QUEUE_LIMIT=str(limit)) as server:
        assert post(server, body_of(b"warm"))[0] == 201
        before = memory_mb(server)
        began = time.monotonic()
        numbers = list(range(count))
        answers = [
            one for client in await asyncio.gather(*(flood(server, numbers) for _ in range(16))) for one in client
        ]
        statuses = [status for status, _ in answers]
        grown = memory_mb(server) - before
        print(
            f"{count} submissions in {time.monotonic() - began:.1f} s: {statuses.count(201)} accepted, {grown:+.1f} MB"
        )
        assert len(answers) == count and set(statuses) == {201, 429}
        assert limit - 1 <= statuses.count(201) <= limit + 16  # those that were being read when the queue was full
        assert all(int(wait or 0) > 0 for status, wait in answers if status == 429)
        assert grown < 50
        assert len(folders_of(tmp_path)) == statuses.count(201) + 1
