"""ffmpeg as a process: started through sandbox.py, and ended with all that belongs to it. Runs in the child."""

import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from btworker.logs import get_logger

log = get_logger()
SANDBOX = Path(__file__).with_name("sandbox.py")
MEMORY_BYTES = 4 * 2**30
EXIT_S = 10.0
"""Between the end of its output and its own."""
LOOK_S = 60
SEES_ALL = "*"
"""In place of an input: see sandbox.py."""


def start(command: list[str], *, cpu_s: float, source: Path) -> subprocess.Popen[bytes]:
    """Start the command, which may read `source`; its output and its log are pipes."""
    seen = str(source.absolute()) if runs_confined(command[0]) else SEES_ALL
    return _open([*_restricted(cpu_s, seen), *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)


def start_writer(command: list[str], *, cpu_s: float, output: Path, most_bytes: int) -> subprocess.Popen[bytes]:
    """Start the command, which reads its standard input and may write to the file `output`, which is there already."""
    seen = "" if runs_confined(command[0]) else SEES_ALL
    restricted = _restricted(cpu_s, seen, "--output", str(output.absolute()), str(most_bytes))
    return _open([*restricted, *command], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)


def _open(command: list[str], *, stdin: int, stdout: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        bufsize=0,
        cwd="/",
        env={"PATH": os.defpath, "LC_ALL": "C", "AV_LOG_FORCE_NOCOLOR": "1"},
        start_new_session=True,
    )


@functools.cache
def runs_confined(program: str) -> bool:
    """Whether this ffmpeg starts where it sees the system's libraries alone; tried once, and logged.

    One that is a script, or whose libraries lie in a place of their own, does not: it goes on with its limits alone.
    """
    asked = subprocess.run([sys.executable, "-I", "-S", SANDBOX, "--about"], capture_output=True, check=False)
    about: dict[str, Any] = json.loads(asked.stdout or "{}")
    try:
        command = [*_restricted(LOOK_S, ""), program, "-version"]
        works = subprocess.run(command, capture_output=True, timeout=LOOK_S, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        works = False
    if works and about.get("landlock") and about.get("seccomp"):
        log.info("sandbox", **about)
    else:
        why = (
            "this kernel lacks Landlock or seccomp"
            if works
            else f"{program} does not start where it sees no other file"
        )
        message = f"ffmpeg is held less closely than it could be: {why} (docs/security.md)"
        log.warning("sandbox", confined=works, message=message, **about)
    return works


def _restricted(cpu_s: float, seen: str, *output: str) -> list[str]:
    limits = [str(os.getpid()), str(MEMORY_BYTES), str(int(cpu_s))]
    return [sys.executable, "-I", "-S", str(SANDBOX), *output, *limits, seen]


def end(process: subprocess.Popen[Any]) -> None:
    """Leave nothing of it: what still runs is killed, with its whole process group."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
