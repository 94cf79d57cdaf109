"""Write the locks, or check them. `write` resolves locks/*.in; `check` asks two questions of every lock.

Is it what its inputs say (resolved again with the committed pins as preference, so a new release alone is no failure)?
And does every pin have a usable file on every architecture and Python version that the stack is for? A universal lock
is only as good as the second: the resolver that writes it does not ask whether an arm64 wheel exists.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import setup_env

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "locks"
PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28")
# Packages that have only a source release, each pure Python; everything else must have a wheel for every platform.
SOURCE_ONLY = frozenset({"docopt", "forbiddenfruit", "julius", "openai-whisper", "srt"})


STACKS = ("cu121", "cu130")
EXTRAS = (*STACKS, "ray")
"""Locks that a package brings: its stacks, and what a fleet needs beside one."""
COMPANION = "openai-whisper==20231117+btworker.1"
"""In the place of the source package, which does not build with today's setuptools: tools/wheel.py makes it."""


@dataclass(frozen=True)
class Lock:
    """One lock file: how it is resolved, and where it has to install."""

    name: str
    pythons: tuple[str, ...]
    overrides: str | None = None
    excludes: str = "excludes.txt"
    constraints: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


LOCK_FILES = (
    Lock("cu121", ("3.10", "3.11", "3.12"), overrides="cu121-overrides.txt"),
    Lock("cu130", ("3.11", "3.12", "3.13")),
    Lock(
        "dev",
        ("3.10", "3.11", "3.12", "3.13"),
        overrides="dev-overrides.txt",
        excludes="dev-excludes.txt",
        constraints=("cu121.txt", "cu130.txt"),
    ),
    Lock("ray", ("3.11", "3.12", "3.13"), constraints=("cu121.txt", "cu130.txt")),
    Lock("bench", ("3.10", "3.11", "3.12", "3.13")),
    Lock("uv", ("3.10", "3.11", "3.12", "3.13")),
    Lock("audit", ("3.10", "3.11", "3.12", "3.13")),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `write` or `check`; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=("write", "check"))
    parser.add_argument("--locks", type=Path, default=LOCKS, help="folder of the locks")
    args = parser.parse_args(argv)
    if args.command == "write":
        failed = any(write(lock, args.locks, upgrade=True) for lock in LOCK_FILES)
        for name in EXTRAS:
            (args.locks / "extras" / f"{name}.txt").write_text(extra(args.locks, name))
        return int(failed)
    failures = [problem for lock in LOCK_FILES for problem in check(lock, args.locks)]
    print(*failures, sep="\n", end="\n" if failures else "")
    print(f"check-locks: {len(failures)} problems" if failures else "check-locks: every lock is current and installs")
    return int(bool(failures))


def write(lock: Lock, folder: Path, *, upgrade: bool) -> int:
    """Resolve one lock in place; return uv's exit status. Network addresses never get into the file."""
    command = [
        *("uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-emit-index-url", "--no-header"),
        *("--python-version", lock.pythons[0], "--build-constraint", "build-constraints.txt"),
        *("--excludes", lock.excludes),
        *(["--override", lock.overrides] if lock.overrides else []),
        *(argument for name in lock.constraints for argument in ("--constraint", name)),
        *(["--upgrade"] if upgrade else []),
        *(f"{lock.name}.in", "--output-file", f"{lock.name}.txt"),
    ]
    print(f"{lock.name}: resolving", flush=True)
    return subprocess.run(command, cwd=folder, check=False, env=environment()).returncode


def check(lock: Lock, folder: Path) -> list[str]:
    """Problems of one lock, as sentences."""
    stale = [] if is_current(lock, folder) else [f"{lock.name}: the lock is not what its inputs say; run make locks"]
    places = [(python, platform) for python in lock.pythons for platform in PLATFORMS]
    reasons = [(*place, uninstallable(lock, folder, *place)) for place in places]
    return stale + [
        f"{lock.name}: Python {python}, {platform}: {reason}" for python, platform, reason in reasons if reason
    ]


def is_current(lock: Lock, folder: Path) -> bool:
    """Whether resolving the inputs again, with the committed pins preferred, gives the same pins."""
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(shutil.copytree(folder, Path(scratch) / "locks"))
        return write(lock, copy, upgrade=False) == 0 and pins(copy, lock.name) == pins(folder, lock.name)


def pins(folder: Path, name: str) -> list[str]:
    """The lock's requirement lines with their markers, without hashes."""
    lines = (folder / f"{name}.txt").read_text().splitlines()
    return [line.rstrip("\\ ") for line in lines if line[:1].isalnum()]


def extra(folder: Path, stack: str) -> str:
    """What `btworker[stack]` asks for: the lock's pins with their markers; metadata has no place for hashes."""
    lines = [COMPANION if line == COMPANION.partition("+")[0] else line for line in pins(folder, stack)]
    return f"# Written by tools/locks.py from {stack}.txt; a part of pyproject.toml.\n" + "\n".join(lines) + "\n"


def uninstallable(lock: Lock, folder: Path, python: str, platform: str) -> str | None:
    """Why the lock cannot be installed there, or None where it can. Nothing is installed, and wheels are not fetched.

    Dependencies are followed, so a package that the lock forgot is found as well: in hash mode it has no hash.
    """
    names = {line.partition("==")[0] for line in pins(folder, lock.name)}
    with tempfile.TemporaryDirectory() as target:
        command = [
            *("uv", "pip", "install", "--quiet", "--dry-run", "--require-hashes", "--target", target),
            *("--python-version", python, "--python-platform", platform, "--only-binary", ":all:"),
            *(argument for name in sorted(names & SOURCE_ONLY) for argument in ("--no-binary", name)),
            *("--build-constraint", "build-constraints.txt", "--requirement", f"{lock.name}.txt"),
            *("--excludes", lock.excludes),
            *(["--override", str(hashed_overrides(lock, folder, Path(target)))] if lock.overrides else []),
        ]
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment())
    verdict = "ok" if result.returncode == 0 else "FAILS"
    print(f"{lock.name}: Python {python}, {platform}: {verdict}", flush=True)
    return None if result.returncode == 0 else result.stderr.strip()


def hashed_overrides(lock: Lock, folder: Path, scratch: Path) -> Path:
    """Write the overridden pins with the lock's hashes: hash mode wants them there as well."""
    lines = (folder / str(lock.overrides)).read_text().splitlines()
    names = {line.partition("==")[0] for line in lines if line[:1].isalnum()}
    entries = re.findall(
        r"^[a-z0-9][^\n]*(?:\n +--hash[^\n]*)+", (folder / f"{lock.name}.txt").read_text(), re.MULTILINE
    )
    path = scratch / "overrides.txt"
    path.write_text("\n".join(entry for entry in entries if entry.partition("==")[0] in names) + "\n")
    return path


def environment() -> dict[str, str]:
    """Environment for uv: pip's index settings, as for the set-up, and the uv that the set-up may have brought in."""
    venv = Path(sys.prefix)
    variables = setup_env.installer_environment(os.environ, setup_env.pip_settings(venv))
    return {**variables, "PATH": os.pathsep.join((variables.get("PATH", os.defpath), str(venv / "bin")))}


if __name__ == "__main__":
    sys.exit(main())
