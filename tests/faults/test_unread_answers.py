"""R29: clients that send requests and never read an answer. The real server process, raw sockets with small buffers."""

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.clients import SLOW, body_of, descriptors, head, memory_mb, post
from tests.process.server_of import Server, serving
from tests.slices import FULL
from tests.waiting import until

CLIENTS = 1000 if FULL else 300
BUNDLE = "/docs/swagger-ui-bundle.js"
"""The largest answer that needs no token: 1.7 MB."""


@contextlib.contextmanager
def never_reading(server: Server, count: int, request: bytes) -> Iterator[None]:
    """Connections that have sent `request` and read nothing, with the smallest receive buffer that the kernel gives."""
    with contextlib.ExitStack() as stack:
        port = int(server.url.rsplit(":", 1)[1])
        for _ in range(count):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            client.connect(("127.0.0.1", port))
            client.setblocking(False)
            with contextlib.suppress(OSError):  # its place may be taken already
                client.send(request)
        yield


def seconds_of_a_look(server: Server) -> float:
    """One look at /health/live, on a connection of its own and without a token."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", int(server.url.rsplit(":", 1)[1])), 60) as client:
        client.sendall(b"GET /health/live HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    return time.monotonic() - began


@pytest.mark.serial
@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", ["/openapi.json", BUNDLE, "/v1/jobs"])
def test_answers_that_strangers_do_not_read_take_nothing_from_others(tmp_path: Path, path: Path) -> None:
    """1,000 with 20 requests each: health checks are answered, memory stays flat, work goes on, SIGTERM ends it."""
    with serving(tmp_path, **SLOW) as server:
        assert post(server, body_of(b"warm"))[0] == 201
        memory, before = memory_mb(server), descriptors(server)
        with never_reading(server, CLIENTS, head("GET", path, token=False) * 20):
            seconds_of_a_look(server)  # behind all that was sent before it
            looks = sorted(seconds_of_a_look(server) for _ in range(300))
            grown = memory_mb(server) - memory
            print(f"{CLIENTS} clients, {path}: p99 {looks[-3] * 1000:.1f} ms, {grown:+.1f} MB")
            assert looks[-3] < 2  # generous: this machine may be busy
            assert grown < 40
            assert descriptors(server) <= before + 256 + 8
            assert post(server, body_of(b"a normal one"))[0] == 201
            began = time.monotonic()
            assert server.stop() == 0
            assert time.monotonic() - began < 20


@pytest.mark.timeout(300)
@pytest.mark.parametrize("token", [True, False])
def test_an_answer_that_nobody_takes_ends(tmp_path: Path, token: bool) -> None:
    """After WORKER_WRITE_IDLE_SECONDS, with a token and without: no descriptor stays."""
    with serving(tmp_path, **SLOW, WORKER_WRITE_IDLE_SECONDS="2") as server:
        seconds_of_a_look(server)
        before = descriptors(server)
        with never_reading(server, 20, head("GET", BUNDLE, token=token) * 20):
            until(lambda: descriptors(server) >= before + 20)
            until(lambda: descriptors(server) <= before, within_s=120)


def test_a_slow_reader_gets_all_of_it(tmp_path: Path) -> None:
    """A client that takes a little, and again a little, is none of those: what counts is that something moves."""
    with serving(tmp_path, **SLOW, WORKER_WRITE_IDLE_SECONDS="2") as server:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            client.connect(("127.0.0.1", int(server.url.rsplit(":", 1)[1])))
            client.sendall(head("GET", BUNDLE, token=False, Connection="close"))
            began, size = time.monotonic(), 0
            while chunk := client.recv(8192):
                size += len(chunk)
                while time.monotonic() - began < min(size / 200_000, 6):  # 6 s for the whole of it
                    time.sleep(0.01)
        assert size > 1_600_000
