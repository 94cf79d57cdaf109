"""Which of many cases a run takes: all of them under BTWORKER_FULL=1 (`make full`), else a slice of them.

The slice follows from the commit's hash, so that a commit always takes the same cases and all cases are met over a few
commits. SLICE=… in the environment repeats that of another run; the head of each run prints it.
"""

import hashlib
import os
import random
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
FULL = os.environ.get("BTWORKER_FULL") == "1"
"""Full counts instead of a slice."""


def name_of_slice() -> str:
    """SLICE, else the commit's hash, else "0"; kept in the environment, so that xdist's workers have the same."""
    if not os.environ.get("SLICE"):
        command = ["git", "rev-parse", "--short=12", "HEAD"]
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
        os.environ["SLICE"] = found.stdout.strip() or "0"
    return os.environ["SLICE"]


def seed_of(purpose: str) -> int:
    """A number that follows from the slice, for each purpose another one."""
    return int.from_bytes(hashlib.sha256(f"{name_of_slice()} {purpose}".encode()).digest()[:8])


def luck_of(purpose: str) -> random.Random:
    """Random numbers that SLICE=… repeats."""
    return random.Random(seed_of(purpose))


def slice_of(cases: Sequence[T], count: int, purpose: str) -> list[T]:
    """About `count` of the cases, evenly spread over them; all of them under BTWORKER_FULL=1."""
    step = max(len(cases) // count, 1)
    return list(cases) if FULL else list(cases[seed_of(purpose) % step :: step])
