"""A real worker of our own: `python -m btworker serve` as a subprocess, for as long as a `with` block.

Whatever happens in the block, the worker is gone after it: SIGTERM, which drains; after a while SIGKILL, on which its
children end by themselves. It ends also when we are killed. It stays in our process group, so that Ctrl-C and a closed
terminal reach it too.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType

READY_S = 300.0
"""It listens within 1.5 s; a cold disk, or an emulated processor, needs longer. One that ends is noticed at once."""
STOP_S = 15.0
TERMINATED = 128 + signal.SIGTERM
"""Exit code of a command that `kill`, or the end of its terminal, has stopped."""
TAIL_LINES = 15


class ServerError(Exception):
    """The worker did not start, or did not end well: one sentence."""


class LocalServer:
    """One worker; `url` is there inside the block, `exit_code` after `stop`."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self.url = ""
        self.log = folder / "server.log"
        self._ready = folder / "server-ready.json"
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    async def __aenter__(self) -> "LocalServer":  # noqa: PYI034 - Self is not in Python 3.10
        self._ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "btworker", "serve", "--ready-file", str(self._ready)]
        command += ["--with-parent", str(os.getpid())]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220 - a fork and exec; asyncio's needs a loop to be reaped
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment
            )
        async with AsyncExitStack() as on_failure:
            on_failure.push_async_callback(self._end, self._process)
            self.url = await self._listening(self._process)
            on_failure.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            await self._end(self._process)

    async def stop(self) -> int:
        """Stop the worker as an operator would, and return its exit code. Raises ServerError when it does not stop."""
        if self._process is None:
            raise RuntimeError("stop() belongs inside the block")
        await self._end(self._process)
        code = self._process.returncode
        if code == -signal.SIGKILL:
            raise ServerError(f"the server did not stop within {STOP_S:.0f} s of SIGTERM")
        return code

    @property
    def ended(self) -> int | None:
        """Its exit code where it has ended by itself."""
        return None if self._process is None else self._process.poll()

    def tail(self) -> list[str]:
        """The last lines of its log, without the requests that it answered."""
        try:
            lines = self.log.read_text("utf-8", "replace").splitlines()
        except OSError:
            return []
        return [line for line in lines if '"event": "request"' not in line][-TAIL_LINES:]

    async def _listening(self, process: "subprocess.Popen[bytes]") -> str:
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise ServerError(f"the server ended at once, with exit code {process.returncode}")
            try:
                return str(json.loads(self._ready.read_text("utf-8"))["url"])
            except (OSError, ValueError):  # not there, or half written
                await asyncio.sleep(0.02)
        raise ServerError(f"the server did not listen within {READY_S:.0f} s")

    async def _end(self, process: "subprocess.Popen[bytes]") -> None:
        if process.poll() is None:
            process.terminate()
        try:
            await asyncio.to_thread(process.wait, STOP_S)
        except subprocess.TimeoutExpired:
            pass
        finally:  # also when a second Ctrl-C ends the waiting
            process.kill()
            process.wait()
            self._ready.unlink(missing_ok=True)


def stop_on_signals() -> None:
    """`kill`, or a terminal that is closed, ends the current task like Ctrl-C: through every `finally`."""
    task = asyncio.current_task()
    if task is not None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
