"""Tells systemd how the service is (sd_notify): READY=1, WATCHDOG=1 while the event loop turns, STOPPING=1. Parent.

Without NOTIFY_SOCKET every call does nothing. The protocol is a datagram of "NAME=value" lines to a Unix socket; see
sd_notify(3). The watchdog's beat is a task of the event loop on purpose: a loop that stands still says nothing, and
systemd then starts the service anew.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

STOP_MARGIN_S = 60.0
"""Seconds beyond the drain that a stop may take: requests under way, the ladder of signals for the children."""


class Notifier:
    """What one process says to the service manager that started it."""

    def __init__(self, environment: Mapping[str, str], *, pid: int | None = None) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.beat_s = _beat_s(environment, os.getpid() if pid is None else pid)
        """Seconds between two signs of life, half of WatchdogSec=; 0 = none are wanted."""

    def ready(self, url: str) -> None:
        """The store is open and the socket listens."""
        self._notify("READY=1", f"STATUS=listening on {url}")

    def stopping(self, *, drain_s: float) -> None:
        """The drain begins. It may take longer than the unit's TimeoutStopSec= where WORKER_DRAIN_SECONDS says so."""
        extra_us = int((drain_s + STOP_MARGIN_S) * 1e6)
        self._notify("STOPPING=1", f"EXTEND_TIMEOUT_USEC={extra_us}", "STATUS=draining: running jobs may finish")

    @asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """Signs of life from the event loop for as long as the block lasts."""
        task = asyncio.create_task(self._beat(), name="watchdog")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _beat(self) -> None:
        while self.beat_s:
            self._notify("WATCHDOG=1")
            await asyncio.sleep(self.beat_s)

    def _notify(self, *lines: str) -> None:
        if not self._address:
            return
        # A service manager that does not listen is no reason to stop, and none to wait.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.setblocking(False)
            sender.sendto("\n".join(lines).encode(), self._address)


def _beat_s(environment: Mapping[str, str], pid: int) -> float:
    """Half of WATCHDOG_USEC, as sd_watchdog_enabled(3) advises; 0 where it is not set, or meant for another process."""
    microseconds, meant_for = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not microseconds.isdecimal() or (meant_for and meant_for != str(pid)):
        return 0.0
    return int(microseconds) / 2e6
