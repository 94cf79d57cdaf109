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
DEAR = Path(__file__).with_name("dear.tsv")
"""Seconds and node ids of the tests that take longest; `make test` runs one in `DEAR_STEP` of them.
`tools/run_tests.py --write-dear` writes it."""
DEAR_STEP = 5
FULL = os.environ.get("BTWORKER_FULL") == "1"
"""Full counts instead of a slice."""


def dear_tests() -> dict[str, list[str]]:
    """Node ids of the tests that take longest, by folder, the longest first, so that slices weigh the same."""
    found: dict[str, list[str]] = {}
    for line in sorted(DEAR.read_text(encoding="utf-8").splitlines(), key=lambda line: -float(line.split("\t")[0])):
        node = line.split("\t", 1)[1]
        found.setdefault(node.split("/")[1], []).append(node)
    return found


def dear_left_out() -> frozenset[str]:
    """Node ids of dear tests that this commit leaves to others."""
    groups = dear_tests()
    taken = {node for folder, found in groups.items() for node in every(DEAR_STEP, found, f"dear tests of {folder}")}
    return frozenset(node for found in groups.values() for node in found) - taken


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
    return every(max(len(cases) // count, 1), cases, purpose)


def every(step: int, cases: Sequence[T], purpose: str) -> list[T]:
    """One in `step` of the cases, from one on that follows from the slice; all of them under BTWORKER_FULL=1."""
    return list(cases) if FULL else list(cases[seed_of(purpose) % step :: step])
