"""ffmpeg as a process: started through sandbox.py, and ended with all that belongs to it. Runs in the child."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

SANDBOX = Path(__file__).with_name("sandbox.py")
MEMORY_BYTES = 4 * 2**30
EXIT_S = 10.0
"""Between the end of its output and its own."""


def start(command: list[str], *, cpu_s: float) -> subprocess.Popen[bytes]:
    """Start the command; its output and its log are pipes."""
    restrict = [sys.executable, "-I", "-S", str(SANDBOX), str(os.getpid()), str(MEMORY_BYTES), str(int(cpu_s))]
    return subprocess.Popen(
        [*restrict, *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        cwd="/",
        env={"PATH": os.defpath, "LC_ALL": "C", "AV_LOG_FORCE_NOCOLOR": "1"},
        start_new_session=True,
    )


def end(process: subprocess.Popen[Any]) -> None:
    """Leave nothing of it: what still runs is killed, with its whole process group."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
