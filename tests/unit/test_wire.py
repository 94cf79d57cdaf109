"""The rest of a body, read from its connection: what `stop` ends."""

import socket
from collections.abc import Iterator

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
