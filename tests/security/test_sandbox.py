"""S20: whatever runs in ffmpeg's place reads its input and the system's libraries, and nothing else; writes, kills and
starts nothing. As root and as a user; a probe that is let go first shows that each attempt would succeed.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from btworker.engine.sound import process
from btworker.ffmpeg import find_ffmpeg
from tests.process.server_of import TOKEN, serving
from tests.waiting import until

pytestmark = pytest.mark.speech
NOBODY = 65534
PYTHON = Path("/usr/bin/python3")
KERNEL = 6
"""The version of Landlock from which on all of it holds."""
PROBE = """
import ctypes, json, os, signal, socket, sys, threading
folder, parent = sys.argv[1], int(sys.argv[2])
done = {}
def attempt(name, act):
    try:
        act()
        done[name] = True
    except OSError:
        done[name] = False
def child(start):
    if start() == 0:
        os._exit(0)
    os.wait()
def ptrace():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(16, parent, None, None) != 0:
        raise OSError(ctypes.get_errno())
    libc.ptrace(17, parent, None, None)
TGKILL = {"x86_64": 234, "aarch64": 131}[os.uname().machine]
def call(*arguments):
    if ctypes.CDLL(None, use_errno=True).syscall(*arguments) != 0:
        raise OSError
attempt("own input", lambda: open(sys.argv[0]).read())
attempt("thread", lambda: (t := threading.Thread(target=len, args=("",)), t.start(), t.join()))
attempt("read another input", lambda: open(folder + "/other").read())
attempt("read the token", lambda: open(folder + "/token").read())
attempt("read the parent's environment", lambda: open(f"/proc/{parent}/environ", "rb").read())
attempt("list the folder", lambda: os.listdir(folder))
attempt("make a file", lambda: os.mkdir(folder + "/new"))
attempt("delete a file", lambda: os.unlink(folder + "/victim"))
attempt("truncate its input", lambda: os.truncate(folder + "/probe.py", 0))
attempt("fork", lambda: child(os.fork))
attempt("start a program", lambda: os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0))
attempt("signal the parent", lambda: os.kill(parent, 0))
attempt("signal a thread of the parent", lambda: call(TGKILL, parent, parent, 0))
attempt("signal itself", lambda: call(TGKILL, os.getpid(), os.getpid(), 0))
attempt("open a socket", lambda: socket.socket(socket.AF_UNIX).close())
print(json.dumps(done))
"""
HARMLESS = {"own input", "thread", "signal itself"}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose permissions keep nobody out, so that the sandbox alone does."""
    path = Path(tempfile.mkdtemp(prefix="btworker-probe-"))
    path.chmod(0o777)
    for name, text in (("other", "another job's"), ("token", "secret"), ("victim", "x"), ("probe.py", PROBE)):
        (path / name).write_text(text)
        (path / name).chmod(0o666)
    yield path
    shutil.rmtree(path)


def probed(folder: Path, user: int, *, held: bool) -> dict[str, bool]:
    """What the probe could do. Run by the system's Python where there is one: every user may read that."""
    python, probe = str((PYTHON if PYTHON.exists() else Path(sys.executable)).resolve()), str(folder / "probe.py")
    shutil.copy(process.SANDBOX, folder)
    sandbox = [python, "-I", "-S", str(folder / "sandbox.py"), *process._restricted(60, probe)[4:]] if held else []
    command = [*sandbox, python, "-I", "-S", probe, str(folder), str(os.getpid())]
    identity = {} if user == os.geteuid() else {"user": user, "group": user, "extra_groups": []}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100, cwd="/", **identity)
    assert done.returncode == 0, done.stderr
    found: dict[str, bool] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("user", [os.geteuid(), *([NOBODY] if os.geteuid() == 0 else [])])
def test_what_runs_in_ffmpegs_place_does_nothing_else(folder: Path, user: int) -> None:
    """It reads its input and has threads; all that the free probe could do besides fails."""
    about = json.loads(subprocess.check_output([sys.executable, "-I", "-S", process.SANDBOX, "--about"]))
    if about["landlock"] < KERNEL or not about["seccomp"]:
        pytest.skip(f"this kernel cannot show it: {about}")
    held = probed(folder, user, held=True)
    assert {name for name, could in held.items() if could} == HARMLESS
    free = probed(folder, user, held=False)
    anothers = {"read the parent's environment", "signal the parent", "signal a thread of the parent"}
    assert {name for name, could in free.items() if not could} <= (anothers if user != os.geteuid() else set())
    assert free.keys() == held.keys()


@pytest.mark.parametrize("source", ["", "*"])
def test_the_ffmpeg_of_this_machine_starts_there(source: str) -> None:
    """With nothing to read but the libraries, and with its limits alone."""
    ffmpeg = find_ffmpeg()
    assert ffmpeg is not None
    done = subprocess.run([*process._restricted(60, source), str(ffmpeg), "-version"], capture_output=True, check=False)
    assert done.returncode == 0 and done.stdout.startswith(b"ffmpeg version"), done.stderr
    assert process.runs_confined(str(ffmpeg))


def test_an_ffmpeg_that_does_not_start_there_is_told(tmp_path: Path) -> None:
    """A script in its place needs a shell: it goes on with its limits alone, and can start what it is there for."""
    script = tmp_path / "ffmpeg"
    script.write_text("#!/bin/sh\n/bin/echo ffmpeg version of a script\n")
    script.chmod(0o755)
    assert not process.runs_confined(str(script))
    with process.start([str(script)], cpu_s=60, source=tmp_path) as program:
        out, _ = program.communicate(timeout=60)
    assert out == b"ffmpeg version of a script\n"


def test_children_do_not_carry_the_workers_token(tmp_path: Path) -> None:
    """Neither in the environment that they were started with nor later."""
    with serving(tmp_path) as server:
        until(lambda: server.request("GET", "/health/ready")[0] == 200)
        children = server.children()
        assert children
        for pid in children:
            assert TOKEN.encode() not in Path(f"/proc/{pid}/environ").read_bytes()
