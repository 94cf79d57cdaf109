"""strace as a tool of tests: record the system calls of one upload, and make a chosen one of them fail, wait or kill.

Three traps, and how they are avoided here. `-P folder` matches no file below the folder: calls are chosen by number.
`when=K` counts per thread: strace is attached to one thread only, the one whose call it is, and the server runs
with WORKER_FILE_THREADS=1, so that the same thread does the same work again. An injection that never fires proves
nothing: `Injection.fired` says so, and tests count it (a table that grew a page makes two calls more the next time).
"""

import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

CALLS = ("write", "pwrite64", "fsync", "fdatasync", "rename", "openat", "mkdir", "ftruncate", "unlink", "unlinkat")
"""What an accept changes files by, and the reads that it needs (openat)."""
_LINE = re.compile(r"(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)")
_DESCRIPTOR = re.compile(r"\d+<([^>]*)>")
_PATH = re.compile(r'"(/[^"]*)"')


@dataclass(frozen=True, slots=True)
class Call:
    """One system call. `began` and `ended` are places in one order over all threads; `number` counts from 1."""

    thread: int
    name: str
    number: int
    path: str
    text: str
    began: int
    ended: int


class Recording:
    """The calls of a process while it was recorded; complete after the block."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def of(self, name: str, ending: str) -> list[Call]:
        """The calls of this name on files whose path ends so."""
        return [call for call in self.calls if call.name == name and call.path.endswith(ending)]


@contextmanager
def recorded(pid: int, names: Sequence[str] = CALLS) -> Iterator[Recording]:
    """Record the calls of all threads of a process, and of the processes that it starts."""
    recording = Recording()
    with TemporaryDirectory() as folder:
        output = Path(folder, "calls")
        with _attached(pid, "-f", "-y", "-s", "600", "-e", f"trace={','.join(names)}", "-o", str(output)):
            yield recording
        recording.calls += _parsed(output.read_text(errors="replace"))


@dataclass
class Injection:
    """Whether the fault was met; known after the block."""

    fired: bool = False


@contextmanager
def injected(call: Call, fault: str, *, when: str | None = None) -> Iterator[Injection]:
    """Let this call of this thread, the next time that it is made, meet the fault: error=EIO, signal=SIGKILL, …"""
    injection = Injection()
    rule = f"inject={call.name}:{fault}:when={when or call.number}"
    with TemporaryDirectory() as folder:
        output = Path(folder, "calls")
        with _attached(call.thread, "-e", f"trace={call.name}", "-e", rule, "-o", str(output)):
            yield injection
        seen = output.read_text(errors="replace")
    injection.fired = any(mark in seen for mark in ("(INJECTED)", "(DELAYED)", "killed by SIGKILL"))


@contextmanager
def _attached(pid: int, *options: str) -> Iterator[None]:
    command = ["strace", *options, "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        try:
            assert "attached" in first, first
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)


def _parsed(text: str) -> Iterator[Call]:
    """Calls in the order in which they began; one that another thread interrupts takes two lines."""
    counts: Counter[tuple[int, str]] = Counter()
    open_calls: dict[int, Call] = {}
    found: list[Call] = []
    for place, line in enumerate(text.splitlines()):
        match = _LINE.fullmatch(line)
        if match is None:  # a signal, an exit
            continue
        thread, resumed, name, rest = int(match[1]), match[2], match[3], match[4]
        if resumed:
            if (begun := open_calls.pop(thread, None)) is not None:
                whole = Call(thread, begun.name, begun.number, begun.path, begun.text + rest, begun.began, place)
                found[found.index(begun)] = whole
            continue
        counts[thread, name] += 1
        call = Call(thread, name, counts[thread, name], _path(name, rest), rest, place, place)
        found.append(call)
        if rest.endswith("<unfinished ...>"):
            open_calls[thread] = call
    yield from found


def _path(name: str, rest: str) -> str:
    named_by_path = name in ("openat", "rename", "mkdir", "unlink", "rmdir")
    match = (_PATH if named_by_path else _DESCRIPTOR).search(rest)
    return match[1] if match else ""
