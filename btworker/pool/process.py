"""One child as the parent sees it: spawn, send, read its events, notice its death, stop it.

Runs in the parent. Children are spawned by the main thread: each asks the kernel to be killed when the thread that made
it dies (PR_SET_PDEATHSIG), and the main thread lives as long as the service. A thread per child reads its event queue;
every event, and then Gone, reaches `deliver` in the event loop, in order.
"""

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Generic, Protocol, TypeVar

from btworker.messages import Cancel, Stop
from btworker.pool import child

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_CONTEXT = multiprocessing.get_context("spawn")


@dataclass(frozen=True, slots=True)
class Gone:
    """The child has ended; nothing comes after this."""

    exit_code: int | None

    @property
    def sentence(self) -> str:
        """Follows a subject: "was killed by SIGKILL"."""
        code = self.exit_code
        if code is None:
            return "disappeared"
        if code >= 0:
            return f"exited with status {code}"
        hint = " (perhaps for want of memory)" if -code == signal.SIGKILL else ""
        return f"was killed by {_signal_name(-code)}{hint}"


class Spec(Protocol):
    """What a child gets at spawn."""

    @property
    def index(self) -> int:
        """Its number, for names of processes and threads."""


E = TypeVar("E")
"""What the child puts on its event queue."""


class Spawned:
    """A child from its start on, with its own pair of queues and control pipe, thrown away with it. Needs no event
    loop: what it says waits in its queue until a ChildProcess reads it. Main thread only. Raises OSError."""

    def __init__(self, spec: Spec, *, main: Callable[..., None] = child.main, name: str = "child") -> None:
        """`main` is what runs in it."""
        self.tasks = _CONTEXT.SimpleQueue()
        self.events = _CONTEXT.SimpleQueue()
        control, self.control = _CONTEXT.Pipe(duplex=False)
        self.process = _CONTEXT.Process(
            target=main,
            args=(spec, self.tasks, self.events, control),
            name=f"btworker-{name}-{spec.index}",
        )
        self.process.start()
        self._leave_ends_to_child(control)

    def _leave_ends_to_child(self, control: Connection) -> None:
        """Close our copies of the child's ends: its death then ends the event queue, and a full pipe fails to write.

        SimpleQueue has no public name for its two ends.
        """
        control.close()
        self.events._writer.close()  # type: ignore[attr-defined]  # noqa: SLF001
        self.tasks._reader.close()  # type: ignore[attr-defined]  # noqa: SLF001


class ChildProcess(Generic[E]):
    """A spawned child, from the moment at which somebody takes what it says."""

    def __init__(self, spawned: Spawned, deliver: Callable[["E | Gone"], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._gone = asyncio.Event()
        self._deliver = deliver
        self._tasks, self._events, self._control = spawned.tasks, spawned.events, spawned.control
        self._process = spawned.process
        self._reader = threading.Thread(target=self._read, name=f"{self._process.name}-events", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int | None:
        """The child's process id."""
        return self._process.pid

    def rss_bytes(self) -> int:
        """Resident memory of the child; 0 when it cannot be read (no Linux, or it is gone)."""
        try:
            with open(f"/proc/{self.pid}/statm", encoding="ascii") as file:
                return int(file.read().split()[1]) * PAGE_BYTES
        except (OSError, ValueError, IndexError):
            return 0

    def send(self, command: object) -> None:
        """Put a command or Stop on the child's queue. A child that is gone does not get it; Gone follows."""
        try:
            self._tasks.put(command)
        except (BrokenPipeError, OSError):
            return

    def cancel(self, command: Cancel) -> None:
        """Tell the child's control thread."""
        try:
            self._control.send(command)
        except (BrokenPipeError, OSError):
            return

    def terminate(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """SIGKILL: also ends a child that is stopped or stuck in C code."""
        self._process.kill()

    def dismiss(self, *, grace_s: float) -> None:
        """Ask a child that has nothing to do to end, and kill it where it does not; Gone follows."""
        self.send(Stop())
        self._loop.call_later(grace_s, self.kill)

    async def stop(self, *, grace_s: float) -> None:
        """The ladder: Stop, SIGTERM, SIGKILL, each after `grace_s` seconds; returns when the child is gone."""
        self.send(Stop())
        for step in (self.terminate, self.kill):
            try:
                await asyncio.wait_for(self._gone.wait(), grace_s)
            except asyncio.TimeoutError:
                step()
            else:
                return
        await self._gone.wait()

    def _read(self) -> None:
        while True:
            try:
                event = self._events.get()
            except (EOFError, OSError):
                break
            self._hand_over(event)
        self._process.join()
        code = self._process.exitcode
        self._control.close()
        self._events.close()
        self._tasks.close()
        self._hand_over(Gone(code))

    def _take(self, event: "E | Gone") -> None:
        if isinstance(event, Gone):
            self._gone.set()
        self._deliver(event)

    def _hand_over(self, event: "E | Gone") -> None:
        try:
            self._loop.call_soon_threadsafe(self._take, event)
        except RuntimeError:  # the loop is closed: the parent is on its way out, nobody reads this
            return


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
