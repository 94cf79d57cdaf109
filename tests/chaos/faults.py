"""The faults, one at a time. Each method of Faults is a kind of plan.py; it says whether it hit anything.

Writes are made to fail by strace, attached to the parent's threads one by one (-f would follow into new children as
well). Not `write` as such: the event loop wakes itself up by a write, and libuv aborts when that fails. So pwrite64,
fsync and fdatasync everywhere (the job table, the end of an upload), and `write` only on the file of an upload that is
under way.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

from tests.chaos.client import NO_ANSWER, Body, Break, upload
from tests.chaos.ledger import Ledger
from tests.chaos.load import Load
from tests.chaos.plan import MIB, FaultPlan, JobPlan
from tests.chaos.server import ServerProcess

DISK_CALLS = "pwrite64,fsync,fdatasync"
ATTACH_DEADLINE_S = 20.0
TOOL_DEADLINE_S = 2.0
PART_DEADLINE_S = 8.0
OWN_NUMBERS = 10_000_000
"""Numbers of the uploads that faults make themselves begin here."""
RESETS = 4
STOPPED_TOO_LONG_S = 1.5


class Faults:
    """Makes what the plan says, counts it, and writes it down."""

    def __init__(self, server: ServerProcess, load: Load, ledger: Ledger) -> None:
        self.made: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()
        """Faults that found nothing to hit, or that this machine does not allow."""
        self.problems: list[str] = []
        self._server = server
        self._load = load
        self._ledger = ledger
        self._held: set[int] = set()

    async def make(self, fault: FaultPlan) -> None:
        """One fault, from its beginning to its end."""
        at = time.time()
        if await getattr(self, f"_{fault.kind}")(fault):
            self.made[fault.kind] += 1
            self._ledger.add("fault", kind=fault.kind, number=fault.number, began_at=at)
        else:
            self.missed[fault.kind] += 1

    # the parent

    async def _parent_kill(self, _fault: FaultPlan) -> bool:
        async with self._server.handling:
            await self._server.kill()
            await self._server.start()
        return True

    async def _parent_kill_at_start(self, fault: FaultPlan) -> bool:
        """Killed twice: while it works, and some time after it was started again, listening or not."""
        async with self._server.handling:
            await self._server.kill()
            self._server.spawn()
            await asyncio.sleep(fault.draw * 1.5)
            await self._server.kill()
            await self._server.start()
        return True

    async def _parent_stop(self, fault: FaultPlan) -> bool:
        self._server.signal(signal.SIGSTOP)
        await asyncio.sleep(fault.hold_s)
        self._server.signal(signal.SIGCONT)
        return True

    async def _drain(self, _fault: FaultPlan) -> bool:
        return await self._shut_down(again_after_s=None)

    async def _drain_twice(self, fault: FaultPlan) -> bool:
        return await self._shut_down(again_after_s=0.3 * fault.draw)

    async def _shut_down(self, *, again_after_s: float | None) -> bool:
        async with self._server.handling:
            family = self._server.marked()
            self._server.signal(signal.SIGTERM)
            if again_after_s is not None:
                await asyncio.sleep(again_after_s)
                self._server.signal(signal.SIGTERM)
            code = await self._server.gone()
            if code != 0:
                self.problems.append(f"a drained server ended with {code}")
            await self._server.expect_gone(family)
            await self._server.start()
        return True

    async def _parent_kill_in_drain(self, fault: FaultPlan) -> bool:
        async with self._server.handling:
            self._server.signal(signal.SIGTERM)
            await asyncio.sleep(0.5 * fault.draw)
            await self._server.kill()
            await self._server.start()
        return True

    # children, and what they start

    async def _child_kill(self, fault: FaultPlan) -> bool:
        return self._signal_one(self._server.children(), fault.draw, signal.SIGKILL) is not None

    async def _child_stop(self, fault: FaultPlan) -> bool:
        pid = self._signal_one(self._server.children(), fault.draw, signal.SIGSTOP)
        if pid is None:
            return False
        self._held.add(pid)
        await asyncio.sleep(fault.hold_s)
        self._held.discard(pid)
        _send(pid, signal.SIGCONT)
        return True

    async def _tool_kill(self, fault: FaultPlan) -> bool:
        end = time.monotonic() + TOOL_DEADLINE_S
        while not (tools := self._server.tools()) and time.monotonic() < end:
            await asyncio.sleep(0.02)
        return self._signal_one(tools, fault.draw, signal.SIGKILL) is not None

    def _signal_one(self, pids: list[int], draw: float, number: signal.Signals) -> int | None:
        if not pids:
            return None
        pid = sorted(pids)[int(draw * len(pids))]
        return pid if _send(pid, number) else None

    async def wake_stopped(self) -> None:
        """For ever: let go on what its own script has stopped, after a while."""
        since: dict[int, float] = {}
        while True:
            await asyncio.sleep(0.25)
            stopped = [pid for pid in self._server.children() if _is_stopped(pid) and pid not in self._held]
            since = {pid: since.get(pid, time.monotonic()) for pid in stopped}
            for pid, moment in since.items():
                if time.monotonic() - moment > STOPPED_TOO_LONG_S:
                    _send(pid, signal.SIGCONT)

    # the disk

    async def _disk_full(self, fault: FaultPlan) -> bool:
        return await self._failing_disk("ENOSPC", fault)

    async def _disk_error(self, fault: FaultPlan) -> bool:
        return await self._failing_disk("EIO", fault)

    async def _failing_disk(self, error: str, fault: FaultPlan) -> bool:
        async with self._injecting(DISK_CALLS, error) as works:
            if works:
                await asyncio.sleep(fault.hold_s)
        return works

    async def _upload_disk_full(self, fault: FaultPlan) -> bool:
        """The disk has no room for an upload that has begun: 507, and the client comes again later."""
        job = JobPlan(OWN_NUMBERS + fault.number, 0.0, "plain", 12 * MIB, (["windows", 1],), f"own-{fault.number}")
        self._load.plans[job.number] = job
        before = set(self._parts())
        sending = asyncio.create_task(self._load.submit(job, pause_s=0.02))
        works = False
        try:
            end = time.monotonic() + PART_DEADLINE_S
            while not (parts := set(self._parts()) - before) and time.monotonic() < end and not sending.done():
                await asyncio.sleep(0.02)
            if parts:
                async with self._injecting("write", "ENOSPC", *parts) as works:
                    await asyncio.sleep(fault.hold_s)
        finally:
            await sending
        return works

    def _parts(self) -> list[Path]:
        return list((self._server.data / "jobs").glob("*/in/*.part"))

    @asynccontextmanager
    async def _injecting(self, calls: str, error: str, *paths: Path) -> AsyncIterator[bool]:
        """These system calls of the parent fail meanwhile; False where strace cannot do that here."""
        strace = shutil.which("strace")
        threads = _threads(self._server.pid)
        if strace is None or not threads:
            yield False
            return
        with tempfile.NamedTemporaryFile("r") as words:
            where = [part for tid in threads for part in ("-p", str(tid))]
            only = [part for path in paths for part in ("-P", str(path))]
            what = ["-e", f"trace={calls}", "-e", f"inject={calls}:error={error}"]
            with open(words.name, "w", encoding="utf-8") as errors:
                tracer = subprocess.Popen([strace, "-o", "/dev/null", *what, *only, *where], stderr=errors)
            try:
                yield await _until(lambda: words.seek(0) == 0 and "attached" in words.read(), tracer)
            finally:
                tracer.terminate()
                await asyncio.to_thread(tracer.wait)

    # clients

    async def _client_reset(self, fault: FaultPlan) -> bool:
        """Some uploads at once, broken off in the middle: half of them by RST, half by an early end."""
        await self._server.up.wait()
        job = JobPlan(OWN_NUMBERS + fault.number, 0.0, "plain", 3 * MIB, (["windows", 1],))
        self._load.plans[job.number] = job
        await asyncio.gather(*(self._broken_upload(job, fault.draw, n) for n in range(RESETS)))
        return True

    async def _broken_upload(self, job: JobPlan, draw: float, number: int) -> None:
        share = (draw + number / RESETS) % 1
        body = Body(replace(job, size_bytes=int(job.size_bytes * (0.01 + share))))
        with suppress(*NO_ANSWER):
            await upload(self._server.url, body, broken=Break(int(body.length * share * 0.99), hard=number % 2 == 0))


async def _until(condition: Callable[[], bool], tracer: "subprocess.Popen[bytes]") -> bool:
    end = time.monotonic() + ATTACH_DEADLINE_S
    while not condition():
        if tracer.poll() is not None or time.monotonic() > end:
            return False
        await asyncio.sleep(0.02)
    return True


def _threads(pid: int) -> list[int]:
    try:
        return [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return []


def _send(pid: int, number: signal.Signals) -> bool:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _is_stopped(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "T"
    except OSError:
        return False
