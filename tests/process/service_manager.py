"""A service manager's end of the notify protocol, for servers that think systemd has started them."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

BEAT_S = 0.2
"""Between two signs of life that a server is asked for."""


class Manager:
    """The service manager's end of the notify protocol."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener

    def hear(self, *, within_s: float = 60.0) -> list[str]:
        """The lines of the next message. Raises TimeoutError."""
        self._listener.settimeout(within_s)
        return self._listener.recv(4096).decode().splitlines()

    def hear_until(self, line: str) -> list[list[str]]:
        """Every message up to the one with this line."""
        heard = [self.hear()]
        while line not in heard[-1]:
            heard.append(self.hear())
        return heard

    def forget(self) -> None:
        """Drop what has arrived so far."""
        self._listener.setblocking(False)
        try:
            while True:
                self._listener.recv(4096)
        except BlockingIOError:
            pass


@contextmanager
def manager(address: str) -> Iterator[Manager]:
    """A listening service manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        yield Manager(listener)


def watched(address: str) -> dict[str, str]:
    """The environment that systemd gives a service with WatchdogSec= of twice our beat."""
    return {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": str(int(2 * BEAT_S * 1e6))}
