"""Limits of the fleet's listener: those of the clients' port, for whoever reaches it. Raw sockets."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from btworker.fleet.leases import path_of
from tests.fleet.desk_of import Desk, desk_of
from tests.http.server import Raw
from tests.waiting import eventually


@pytest.fixture
def limits() -> dict[str, Any]:
    """Settings that a test changes."""
    return {}


@pytest.fixture
async def desk(tmp_path: Path, limits: dict[str, Any]) -> AsyncIterator[Desk]:
    async with desk_of(tmp_path, **limits) as found:
        yield found


@asynccontextmanager
async def connection(desk: Desk) -> AsyncIterator[Raw]:
    """A connection to the listener."""
    reader, writer = await asyncio.open_connection("127.0.0.1", desk.port)
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


def head(desk: Desk, method: str, path: str, *, ticket: bool = True, **headers: str) -> bytes:
    """A request of the attempt up to its body."""
    lines = [f"{method} {path_of(desk.job_id, 1)}{path} HTTP/1.1", "Host: t"]
    lines += [f"Authorization: Bearer {desk.ticket}"] if ticket else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.parametrize("limits", [{"header_timeout_s": 0.3}])
async def test_headers_have_a_deadline(desk: Desk) -> None:
    """Who sends them a byte at a time is closed."""
    async with connection(desk) as raw:
        raw.send(head(desk, "GET", "/files")[:-4])
        assert await raw.all() == b""


@pytest.mark.parametrize("header", [{"X_Long": "x" * 50_000}, {f"X_{number}": "x" for number in range(100)}])
async def test_headers_have_a_size(desk: Desk, header: dict[str, str]) -> None:
    """Neither one that is long, nor many, are held."""
    async with connection(desk) as raw:
        raw.send(head(desk, "GET", "/files", **header))
        assert b" 400 " in (await raw.all()).partition(b"\r\n")[0]


@pytest.mark.parametrize("limits", [{"body_idle_s": 0.3}])
@pytest.mark.parametrize(("method", "path"), [("PUT", "/files/out/talk.json"), ("PATCH", "/files/windows/0.jsonl")])
async def test_a_body_that_stops_is_given_up(desk: Desk, method: str, path: str) -> None:
    """A box that goes silent in the middle of a file holds nothing: 408, and what came is gone."""
    async with connection(desk) as raw:
        raw.send(head(desk, method, path, Content_Length="100", Upload_Offset="0") + b"{")
        answer = await raw.all()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"IDLE_TIMEOUT" in answer
    assert [file.name for file in desk.front.path.rglob("*") if file.is_file()] == ["receiving", "0"]


async def test_a_body_is_asked_for_by_who_may_send_it(desk: Desk) -> None:
    """100 Continue comes to a box whose attempt counts; another one is refused before it has sent anything."""
    expect = {"Expect": "100-continue", "Content_Length": "2"}
    async with connection(desk) as raw:
        raw.send(head(desk, "PUT", "/files/out/talk.json", **expect))
        assert await raw.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        raw.send(b"{}")
        assert (await raw.until(b"\r\n")).startswith(b"HTTP/1.1 204 ")
    for status, ticket in ((401, False), (410, True)):
        if ticket:
            desk.leases.revoke(desk.job_id, 1)
        async with connection(desk) as raw:
            raw.send(head(desk, "PUT", "/files/out/talk.json", ticket=ticket, **expect))
            answer = await raw.all()
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
        assert b"Connection: close" in answer


async def test_a_list_that_is_too_long_is_refused(desk: Desk) -> None:
    """What is held in memory has a size, whether it says so or not."""
    async with connection(desk) as raw:
        raw.send(head(desk, "POST", "/results", Content_Length=str(2**30)) + b"[")
        assert (await raw.until(b"\r\n")).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("limits", [{"stranger_connections": 2}])
async def test_strangers_take_no_place_from_boxes(desk: Desk) -> None:
    """Of connections without a valid ticket, one too many costs the oldest its place; a box keeps its own."""
    async with connection(desk) as box, connection(desk) as oldest:
        box.send(head(desk, "GET", ""))
        assert (await box.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 204 ")
        oldest.send(head(desk, "GET", "", ticket=False))
        assert (await oldest.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 401 ")
        async with connection(desk), connection(desk):
            await oldest.all()  # closed
            await eventually(lambda: desk.connections() == 3, "two strangers are left")
            box.send(head(desk, "GET", ""))
            assert (await box.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 204 ")


@pytest.mark.parametrize("limits", [{"write_idle_s": 1.0}])
async def test_an_answer_that_a_box_does_not_take_ends(desk: Desk) -> None:
    """One that asks for an input and reads nothing of it holds no connection for long."""
    os.truncate(desk.front.input(0), 2**26)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        client.connect(("127.0.0.1", desk.port))
        client.sendall(head(desk, "GET", "/files/in/0"))
        await eventually(lambda: desk.connections() == 1, "it is connected")
        await eventually(lambda: desk.connections() == 0, "it is closed", within_s=100)
