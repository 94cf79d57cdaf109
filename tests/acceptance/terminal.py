"""A command at a terminal of its own: what it writes, what is typed, and Ctrl-C."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.cells import cell_len

from tests.acceptance.conftest import DEADLINE_S, Cli

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """`python -m btworker …` on a pseudo-terminal; `written` is all that it wrote so far."""

    def __init__(self, cli: Cli, columns: int, *words: str | Path, **settings: str) -> None:
        self._ours, theirs = pty.openpty()
        environment = {**cli.environment, "TERM": "xterm-256color", "COLUMNS": str(columns), "LINES": "30", **settings}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "btworker", *map(str, words)],
            env=environment,
            cwd=cli.folder,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.written = ""

    def until(self, text: str, *, times: int = 1) -> None:
        """Read until the text stands there so often."""
        end = time.monotonic() + DEADLINE_S
        while self.plain.count(text) < times:
            assert time.monotonic() < end and self._read(), f"{text!r} never came:\n{self.plain[-2000:]}"

    def type(self, text: str) -> None:
        """As the keyboard would."""
        os.write(self._ours, text.encode())

    def interrupt(self) -> None:
        """Ctrl-C reaches everything that runs in the foreground."""
        os.killpg(self.process.pid, signal.SIGINT)

    def wait(self) -> int:
        """Read to the end; the exit code."""
        end = time.monotonic() + DEADLINE_S
        while self._read():
            assert time.monotonic() < end, self.plain[-2000:]
        return self.process.wait(DEADLINE_S)

    @property
    def plain(self) -> str:
        """Without colours and cursor movements."""
        return ESCAPE.sub("", self.written)

    @property
    def widest(self) -> int:
        """Cells of the widest line."""
        return max(cell_len(line) for line in re.split(r"[\r\n]+", self.plain))

    def _read(self) -> bool:
        if not select.select([self._ours], [], [], DEADLINE_S)[0]:
            return False
        try:
            data = os.read(self._ours, 65_536)
        except OSError:  # the other end is closed
            return False
        self.written += data.decode("utf-8", "replace")
        return bool(data)

    def close(self) -> None:
        """Nothing of it stays."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(DEADLINE_S)
        os.close(self._ours)


@contextmanager
def terminal(cli: Cli, columns: int, *words: str | Path, **settings: str) -> Iterator[Terminal]:
    """A command that runs in the block."""
    running = Terminal(cli, columns, *words, **settings)
    try:
        yield running
    finally:
        running.close()
