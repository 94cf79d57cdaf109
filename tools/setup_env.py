"""Make one virtual environment match one stack's locks. Standard library only: it runs before anything is installed.

Called by the Makefile with the machine's own Python. uv installs, since it is five times as fast as pip; it is brought
in by pip where the machine has none, gets pip's own index settings (it does not read them itself), and pip takes over
where uv fails. A stamp with the hash of everything that matters makes every later call instant.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import python_version
import setup_cause

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "locks"
BUILD_CONSTRAINTS = LOCKS / "build-constraints.txt"
NEEDED_GB = 5.8
"""Room that a first set-up takes: measured with cu121 on x86-64; NVIDIA's libraries are most of it."""
PIPE_INTERVAL_S = 15.0
"""Between two lines of progress where there is no terminal."""
GIB = 2**30
RETURN, CLEAR = ("\r", "\033[K") if sys.stdout.isatty() else ("", "")
"""What puts a line of progress in the place of the one before it."""
# A second index or a folder of wheels must not answer for a lock that is meant to be the same everywhere.
DROPPED = ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CONSTRAINT", "UV_EXTRA_INDEX_URL", "UV_INDEX", "UV_FIND_LINKS")


class SetupError(Exception):
    """Something that the person at the terminal can do something about, said in one sentence."""


def main(argv: Sequence[str] | None = None) -> int:
    """Bring the environment up to date; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stack", choices=sorted(python_version.SUPPORTED), required=True)
    parser.add_argument("--venv", type=Path, required=True, help="folder of the environment")
    parser.add_argument("--runtime-only", action="store_true", help="without the tools for working on btworker")
    args = parser.parse_args(argv)
    names = [args.stack] if args.runtime_only else [args.stack, "dev"]
    try:
        with one_at_a_time():
            prepare(args.stack, args.venv.absolute(), names)
    except SetupError as error:
        print(f"make: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nmake: stopped; the same command goes on where this one ended", file=sys.stderr)
        return 130
    return 0


def prepare(stack: str, venv: Path, lock_names: Sequence[str]) -> None:
    """Create or update the environment, unless its stamp says that it is already right."""
    check_python(stack)
    stamp, wanted = venv / "stamp", fingerprint(lock_names, venv)
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    started_s = time.monotonic()
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    what = f"{venv.name} for stack {stack} on Python {python}"
    print(f"Setting up {what}, once (1-3 minutes, about {NEEDED_GB} GB):", flush=True)
    if not version_of(venv):
        check_room(venv.parent, NEEDED_GB)
    create(venv)
    stamp.unlink(missing_ok=True)
    environment = installer_environment(os.environ, pip_settings(venv))
    locks = [LOCKS / f"{name}.txt" for name in lock_names]
    installer = install_locks(venv, locks, environment)
    # The lock has the setuptools that builds it.
    command = [*installer, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    run_step("btworker itself", command, environment)
    stamp.write_text(wanted)
    print(f"  ready after {time.monotonic() - started_s:.0f} s")


def check_python(stack: str) -> None:
    """Say at once that this Python has no such stack; a resolver would say it in forty lines."""
    if complaint := python_version.complaint(stack, sys.version_info):
        raise SetupError(complaint)


def check_room(folder: Path, size_gb: float) -> None:
    """Look for room before anything is downloaded. SETUP_FREE_GB=0 goes on all the same: a warm cache needs little."""
    wanted = float(os.environ.get("SETUP_FREE_GB") or size_gb)
    free = shutil.disk_usage(folder).free / GIB
    if free < wanted:
        raise SetupError(
            f"{folder} has {free:.1f} GB free, and the packages take {wanted} GB: free some, or put the environment "
            "on another disk (VENV=/path make ...); SETUP_FREE_GB=0 tries it all the same"
        )


def fingerprint(lock_names: Sequence[str], venv: Path) -> str:
    """Hash of what the environment is made from: locks, metadata, interpreter, place."""
    digest = hashlib.sha256()
    digest.update("\n".join((sys.version, platform.machine(), str(venv), str(ROOT))).encode())
    locks = [f"locks/{name}.txt" for name in (*lock_names, "build-constraints", "uv")]
    for name in (*locks, "pyproject.toml", "btworker/__init__.py"):  # the last has the version
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest() + "\n"


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Let a second `make` in the same checkout wait for the first."""
    descriptor = os.open(LOCKS, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def create(venv: Path) -> None:
    """Create the environment where there is none, or where it belongs to another Python."""
    if version_of(venv) == sys.version_info[:3] and (venv / "bin" / "pip").exists():
        return
    shutil.rmtree(venv, ignore_errors=True)
    if subprocess.run([sys.executable, "-m", "venv", str(venv)], check=False).returncode != 0:
        raise SetupError("python -m venv failed (above); Debian and Ubuntu keep it in the package python3-venv")


def version_of(venv: Path) -> tuple[int, ...]:
    """Version of the interpreter that the environment has; empty where there is none."""
    command = [str(venv / "bin" / "python"), "-c", "import sys; print(sys.version_info[:3])"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ()
    return tuple(ast.literal_eval(result.stdout))


def pip(venv: Path) -> list[str]:
    """The environment's own pip, as a command."""
    return [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]


def pip_settings(venv: Path) -> dict[str, str]:
    """pip's settings by name, without the section; the environment wins over [install], that over [global]."""
    listing = subprocess.run([*pip(venv), "config", "list"], capture_output=True, text=True, check=False).stdout
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if section in found:
            found[section][name] = str(ast.literal_eval(value))
    return {**found["global"], **found["install"], **found[":env:"]}


def installer_environment(base: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """Environment in which uv and pip both ask the index that pip is configured for, and no other."""
    environment = {key: value for key, value in base.items() if key not in DROPPED}
    # With the settings in variables, pip's files have nothing left to add but a second index.
    # pip splits PIP_CONSTRAINT at spaces, so it has no folder: run_step runs in ROOT.
    environment.update(PIP_CONFIG_FILE=os.devnull, PIP_CONSTRAINT=str(BUILD_CONSTRAINTS.relative_to(ROOT)))
    environment.setdefault("UV_HTTP_TIMEOUT", settings.get("timeout", settings.get("default-timeout", "120")))
    names = {
        "index-url": ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"),
        "cert": ("PIP_CERT", "SSL_CERT_FILE"),
        "trusted-host": ("PIP_TRUSTED_HOST", "UV_INSECURE_HOST"),
        "proxy": ("PIP_PROXY", "ALL_PROXY"),
    }
    for setting, (pip_name, uv_name) in names.items():
        if value := settings.get(setting):
            environment[pip_name] = " ".join(value.split())
            environment.setdefault(uv_name, " ".join(value.split()))
    return environment


def install_locks(venv: Path, locks: Sequence[Path], environment: Mapping[str, str]) -> list[str]:
    """Install the pinned packages with uv, or with pip where uv cannot; return the install command that worked."""
    files = [argument for lock in locks for argument in ("--requirement", str(lock))]
    options = ["--no-deps", "--require-hashes", *files]
    if uv := find_uv(venv, environment):
        command = [uv, "pip", "install", "--quiet", "--python", str(venv / "bin" / "python")]
        constraint = ["--build-constraint", str(BUILD_CONSTRAINTS)]
        if run_step("the pinned packages", [*command, *constraint, *options], environment, may_fail=True):
            return command
        print("  uv could not do it (above); trying pip, which takes several minutes")
    command = [*pip(venv), "install", "--quiet", "--no-compile"]
    run_step("the pinned packages, with pip", [*command, *options], environment)
    return command


def find_uv(venv: Path, environment: Mapping[str, str]) -> str | None:
    """Find a uv that runs: the machine's, the environment's, or one that pip brings in; None where there is none."""
    own = str(venv / "bin" / "uv")
    for candidate in (shutil.which("uv"), own):
        if candidate and runs(candidate):
            return candidate
    command = [*pip(venv), "install", "--quiet", "--no-deps", "--require-hashes", "-r", str(LOCKS / "uv.txt")]
    return own if run_step("uv, the installer", command, environment, may_fail=True) else None


def runs(program: str) -> bool:
    """Whether the program starts at all: a version manager's shim may not."""
    try:
        return subprocess.run([program, "--version"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def run_step(label: str, command: Sequence[str], environment: Mapping[str, str], *, may_fail: bool = False) -> bool:
    """Run one command with one line of progress; on failure show what it said.

    Raises SetupError where the step must not fail.
    """
    started_s = time.monotonic()
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=dict(environment), cwd=ROOT
        )
        status = wait_with_clock(process, label, started_s)
        ended = "done" if status == 0 else "failed"
        print(f"{RETURN}  {label}: {ended} after {time.monotonic() - started_s:.0f} s{CLEAR}", flush=True)
        if status == 0:
            return True
        output.seek(0)
        text = output.read()
    if may_fail and not setup_cause.is_no_network(text):
        sys.stdout.write(text)
        return False
    if not setup_cause.is_no_network(text):  # else there is nothing in it but the same again and again
        sys.stdout.write(text)
        sys.stdout.flush()
    raise SetupError(f"set-up stopped at {label}: {setup_cause.cause_of(text)}")


def wait_with_clock(process: subprocess.Popen[bytes], label: str, started_s: float) -> int:
    """Wait for the process, and say how long that is and how much was written, so that nobody thinks that it hangs."""
    interval_s, end = (1.0, "") if sys.stdout.isatty() else (PIPE_INTERVAL_S, "\n")
    free_before = free_bytes()
    while True:
        try:
            return process.wait(interval_s)
        except subprocess.TimeoutExpired:
            written = max(free_before - free_bytes(), 0) / GIB
            size = f", about {written:.1f} GB" if written >= 0.1 else ""
            print(f"{RETURN}  {label}: {time.monotonic() - started_s:.0f} s{size}{CLEAR}", end=end, flush=True)
        except BaseException:
            process.terminate()
            process.wait()
            raise


def free_bytes() -> int:
    """Room on the disks that an installer writes to: the environment's, and its cache's."""
    folders = [ROOT, *(path for path in (Path.home(), Path(tempfile.gettempdir())) if path.is_dir())]
    return sum({path.stat().st_dev: shutil.disk_usage(path).free for path in folders}.values())


if __name__ == "__main__":
    sys.exit(main())
