"""Set up what `make bench BENCH=engine` compares with, in an environment of its own: the product depends on none of it.

faster-whisper and transformers come from locks/bench.txt; torch is the stack's own, found through a .pth file. Standard
library only, as setup_env.py.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from pathlib import Path

import setup_env

LOCK = setup_env.LOCKS / "bench.txt"


def main() -> int:
    """Bring the peers' environment up to date; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--stack-venv", type=Path, required=True, help="the stack's environment, which has torch")
    parser.add_argument("--venv", type=Path, required=True, help="folder of the peers' environment")
    options = parser.parse_args()
    try:
        with setup_env.one_at_a_time():
            prepare(options.stack_venv.absolute(), options.venv.absolute())
    except setup_env.SetupError as error:
        print(f"make: {error}; the bench runs without these peers", file=sys.stderr)
        return 1
    return 0


def prepare(stack_venv: Path, venv: Path) -> None:
    """Create or update it, unless its stamp says that it is right."""
    stamp = venv / "stamp"
    wanted = hashlib.sha256(LOCK.read_bytes() + f"{sys.version}\n{stack_venv}\n{venv}".encode()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    print(f"Setting up {venv.name}, once: faster-whisper and transformers, for the bench alone")
    setup_env.create(venv)
    environment = setup_env.installer_environment(os.environ, setup_env.pip_settings(venv))
    setup_env.install_locks(venv, [LOCK], environment)
    packages = Path("lib") / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (venv / packages / "stack.pth").write_text(f"{stack_venv / packages}\n")
    stamp.write_text(wanted)


if __name__ == "__main__":
    sys.exit(main())
