"""How the doctor asks the speech stack: in a process of its own.

Imports take seconds and hundreds of MB, and a broken driver or wheel may kill it.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from btworker.config import child_environment

PROBE_TIMEOUT_S = 120.0


def ask(module: str, variables: Mapping[str, str], *, timeout_s: float = PROBE_TIMEOUT_S) -> dict[str, Any] | str:
    """Run a module with these variables beside this process's own: its line of JSON, or why there is none."""
    command = [sys.executable, "-m", module]
    environment = {**child_environment(), **variables}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, env=environment)
    except subprocess.TimeoutExpired:
        return f"torch gave no answer within {timeout_s:.0f} s"
    line = next((line for line in done.stdout.splitlines() if line.startswith("{")), None)
    if line is None or done.returncode != 0:
        words = (done.stderr.strip().splitlines() or [f"it died with {done.returncode}"])[-1]
        return f"torch cannot be asked: {words}"
    answer: dict[str, Any] = json.loads(line)
    return answer
