"""`btworker keys` at the data folder of a server."""

import subprocess
import sys
from pathlib import Path

from tests.process.server_of import ROOT, plain_environment


def keys(folder: Path, *words: str, code: int = 0) -> "subprocess.CompletedProcess[str]":
    """The command, at the data folder of a server in `folder`."""
    command = [sys.executable, "-m", "btworker", "keys", *words, "--data", str(folder / "data")]
    done = subprocess.run(
        command, env=plain_environment(), capture_output=True, text=True, check=False, cwd=ROOT, timeout=60
    )
    assert done.returncode == code, (done.stdout, done.stderr)
    return done
