"""An environment beside a stack's: the packages of one more lock, and all of the stack's through a .pth file. Standard
library only, as setup_env.py.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from pathlib import Path

import setup_env


def options(description: str | None) -> argparse.Namespace:
    """The arguments of a script that makes one."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--stack-venv", type=Path, required=True, help="the stack's environment, which has torch")
    parser.add_argument("--venv", type=Path, required=True, help="folder of the environment beside it")
    return parser.parse_args()


def prepare(stack_venv: Path, venv: Path, *, lock: str, what: str) -> None:
    """Create or update it, unless its stamp says that it is right. Raises SetupError."""
    with setup_env.one_at_a_time():
        _prepare(stack_venv.absolute(), venv.absolute(), setup_env.LOCKS / f"{lock}.txt", what)


def _prepare(stack_venv: Path, venv: Path, lock: Path, what: str) -> None:
    stamp = venv / "stamp"
    wanted = hashlib.sha256(lock.read_bytes() + f"{sys.version}\n{stack_venv}\n{venv}".encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    print(f"Setting up {venv.name}, once: {what}")
    setup_env.create(venv)
    environment = setup_env.installer_environment(os.environ, setup_env.pip_settings(venv))
    setup_env.install_locks(venv, [lock], environment)
    packages = Path("lib") / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (venv / packages / "stack.pth").write_text(f"{stack_venv / packages}\n{setup_env.ROOT}\n")
    stamp.write_text(wanted)
