"""The rest of a body, read from its connection: what `stop` ends."""

import asyncio
import errno
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from btworker.errors import BtworkerError
from btworker.receiving.wire import Wire


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client's end of a TCP connection, and the server's."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as client:
        server, _ = listener.accept()
        with server:
            yield client, server


async def test_nothing_is_read_behind_a_stop(ends: tuple[socket.socket, socket.socket]) -> None:
    """Also where the client's bytes are there already, and more of them come: it may have gigabytes to send, for which
    a server that stops would wait."""
    client, server = ends
    target = memoryview(bytearray(10))
    wire = Wire(server, left_bytes=1000, idle_s=10, on_bytes=lambda _: None)
    client.sendall(bytes(30))
    assert wire.receive(target) == 10
    wire.stop()
    with pytest.raises(BtworkerError, match="ended before it was complete"):
        wire.receive(target)
    assert wire.left_bytes == 990


class Seen(socket.socket):
    """Keeps its descriptor as it was behind each read; `is_read` is set when one begins."""

    def __init__(self, copied: socket.socket) -> None:
        super().__init__(fileno=copied.detach())
        self.is_read = threading.Event()
        self.behind: list[int] = []

    def recv_into(self, *args: Any) -> int:
        self.is_read.set()
        try:
            return super().recv_into(*args)
        finally:
            self.behind.append(self.fileno())


async def test_a_descriptor_is_closed_behind_the_read_of_a_thread(ends: tuple[socket.socket, socket.socket]) -> None:
    """Else its number is the next connection's, from which the thread would read; and the thread does not wait on."""
    _, server = ends
    with Seen(server.dup()) as seen:
        descriptor = seen.fileno()
        wire = Wire(seen, left_bytes=1000, idle_s=60, on_bytes=lambda _: None)
        reading = asyncio.create_task(asyncio.to_thread(wire.receive, memoryview(bytearray(10))))
        await asyncio.to_thread(seen.is_read.wait, 10)
        wire.close()
        with pytest.raises(BtworkerError, match="ended before it was complete"):
            await asyncio.wait_for(reading, 10)
        assert seen.behind == [descriptor]
        assert seen.fileno() == -1
        with pytest.raises(BtworkerError, match="ended before it was complete"):
            wire.receive(memoryview(bytearray(10)))


async def test_a_client_whose_network_is_gone_has_ended_its_upload(ends: tuple[socket.socket, socket.socket]) -> None:
    """It is no fault of the worker's, which a 500 would be."""

    class Unreachable(socket.socket):
        def recv_into(self, *args: Any) -> int:
            raise OSError(errno.EHOSTUNREACH, "no route to host")

    _, server = ends
    with Unreachable(fileno=server.dup().detach()) as connection:
        wire = Wire(connection, left_bytes=1000, idle_s=60, on_bytes=lambda _: None)
        with pytest.raises(BtworkerError, match="ended before it was complete"):
            wire.receive(memoryview(bytearray(10)))
    assert wire.is_lost
