"""The server under test: one process after the other on the same data folder."""

import asyncio
import json
import os
import signal
import time
import uuid
from contextlib import suppress
from pathlib import Path

from tests.process.pool_of import alive
from tests.process.server_of import Server, descendants

ROOT = Path(__file__).resolve().parents[2]
START_DEADLINE_S = 120.0
EXIT_DEADLINE_S = 120.0
FAMILY_DEADLINE_S = 10.0
"""A killed server's children die within milliseconds; on a busy machine it takes longer to see."""
MARK = "BTWORKER_CHAOS_RUN"


class ServerProcess:
    """`python -m btworker serve`, started again whenever it should run and does not."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self._mark = uuid.uuid4().hex
        several = {"WORKER_MAX_CONCURRENT_JOBS": "6", "WORKER_PROCESSES_PER_GPU": "2"}
        self._server = Server(folder, {**several, MARK: self._mark, **settings})
        self.data = folder / "data"
        self.log = self._server.log
        self.up = asyncio.Event()
        self.handling = asyncio.Lock()
        """Held by whoever stops the server on purpose, until it runs again."""
        self.starts_s: list[float] = []
        self.exits: list[str] = []
        """How it ended where nobody asked it to."""
        self.orphans: list[str] = []
        """Processes that outlived their server."""

    @property
    def url(self) -> str:
        """Where it listens, over all starts."""
        return self._server.url

    @property
    def pid(self) -> int:
        """The parent's process id."""
        return self._server.process.pid

    @property
    def running(self) -> bool:
        """The parent exists."""
        return self._server.running

    def children(self) -> list[int]:
        """The pool's children: those that multiprocessing spawned."""
        return [pid for pid in _children_of(self.pid) if b"spawn_main" in _cmdline(pid)]

    def tools(self) -> list[int]:
        """What the pool's children started: the stand-in for ffmpeg."""
        return [tool for pid in self.children() for tool in descendants(pid)]

    def marked(self) -> list[int]:
        """Every process that comes from any server of this run, by an inherited variable."""
        mark = f"{MARK}={self._mark}".encode()
        return [pid for pid in _all_pids() if mark in _environ(pid) and alive(pid)]

    async def start(self) -> None:
        """Start it and wait until it listens; again, where a fault hits the start."""
        started = time.monotonic()
        while time.monotonic() - started < START_DEADLINE_S:
            began = time.monotonic()
            self.spawn()
            while self.running and not self._server.ready.exists():
                await asyncio.sleep(0.02)
            if self.running:
                self._server.url = str(json.loads(self._server.ready.read_text())["url"])
                self.starts_s.append(time.monotonic() - began)
                self.up.set()
                return
            self.exits.append(f"while starting: {self.exit_code}")
        raise RuntimeError(f"the server does not start any more; see {self.log}")

    def spawn(self) -> None:
        """Start it, and wait for nothing."""
        self._server.spawn()

    @property
    def exit_code(self) -> int | None:
        """Of the last process; None while it runs."""
        return self._server.process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the parent; it may be gone already."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    async def kill(self) -> None:
        """SIGKILL, and see that its family goes with it."""
        self.up.clear()
        family = descendants(self.pid)
        self.signal(signal.SIGKILL)
        await self.gone()
        await self.expect_gone(family)

    async def gone(self) -> int:
        """Wait for the end of the parent; its exit code."""
        self.up.clear()
        end = time.monotonic() + EXIT_DEADLINE_S
        while self.running:
            if time.monotonic() > end:
                self.exits.append("it did not end when told to, and was killed")
                self.signal(signal.SIGKILL)
                end += EXIT_DEADLINE_S
            await asyncio.sleep(0.02)
        code = self.exit_code
        return 0 if code is None else code

    async def stop(self) -> None:
        """SIGTERM, to the end."""
        self.signal(signal.SIGTERM)
        if (code := await self.gone()) != 0:
            self.exits.append(f"by SIGTERM: {code}")

    async def expect_gone(self, family: list[int]) -> None:
        """Whoever outlives its server is noted, then killed, so that it is not noted twice."""
        end = time.monotonic() + FAMILY_DEADLINE_S
        while (left := [pid for pid in family if alive(pid)]) and time.monotonic() < end:
            await asyncio.sleep(0.02)
        for pid in left:
            self.orphans.append(f"{pid}: {_cmdline(pid)[:120]!r}")
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    async def keep_alive(self) -> None:
        """For ever: start it again when it has ended by itself."""
        while True:
            await asyncio.sleep(0.1)
            async with self.handling:
                if not self.running:
                    self.up.clear()
                    self.exits.append(f"by itself: {self.exit_code}")
                    await self.start()


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _children_of(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += [int(word) for word in task.read_text().split()]
    return found


def _cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:
        return b""


def _environ(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""
