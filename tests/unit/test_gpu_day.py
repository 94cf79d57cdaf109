"""tools/gpu_day.sh: its steps follow each other whatever becomes of them, within the time, or some of them."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHON = """#!/usr/bin/env bash
# In the place of Python: no GPU; tests fail, kernels take too long, the others have a figure.
case "$*" in
  *is_available*) echo 0 ;;
  *"-m pytest"*) exit 3 ;;
  *gpu_kernels*) exec sleep 60 ;;
  *) echo "RESULT figure=1 of=$*" ;;
esac
"""


def day_of(tmp_path: Path, form: str, **environment: str) -> tuple[int, list[str]]:
    """Exit status and lines of a day."""
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    known = {
        **os.environ,
        "PYTHON": str(python),
        "OUT": str(tmp_path / "out"),
        "SITE": str(tmp_path / "site"),
        **environment,
    }
    done = subprocess.run(
        [ROOT / "tools" / "gpu_day.sh", form], env=known, capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout.splitlines()


def summary_of(lines: list[str]) -> list[str]:
    """What became of each step, without the seconds; whatever wheels lie there are installed first."""
    first = next(number for number, line in enumerate(lines) if line.startswith("== the day"))
    of_steps = [line.strip().rpartition(", ")[0] for line in lines[first + 1 :] if line.startswith("  ")]
    return [line for line in of_steps if not line.startswith("install")]


def test_no_steps_failure_ends_the_others(tmp_path: Path) -> None:
    """Each has its log, each figure is said once more at the end, and the exit status tells of the failure."""
    status, lines = day_of(tmp_path, "files")
    others = ["trials", "speakers", "files"]
    assert status == 1 and summary_of(lines) == ["tests: failed with 3", *(f"{step}: done" for step in others)]
    assert lines[-1].startswith("RESULT figure=1") and lines[-2].startswith("RESULT figure=1")
    logs = {path.name for path in (tmp_path / "out").glob("*.log")} - {"install.log"}
    assert logs == {"tests.log", *(f"{step}.log" for step in others)}


def test_a_step_is_stopped_at_the_end_of_the_day(tmp_path: Path) -> None:
    """And what is left of it is not begun."""
    status, lines = day_of(tmp_path, "windows", LIMIT_S="6", ONLY="kernels windows-toy")
    assert status == 1 and summary_of(lines) == ["windows-toy: done", "kernels: stopped at its limit"]


def test_some_of_the_steps_may_be_asked_for(tmp_path: Path) -> None:
    """In the order of the day."""
    assert day_of(tmp_path, "files", ONLY="files trials")[0] == 0
    assert summary_of(day_of(tmp_path, "files", ONLY="trials")[1]) == ["trials: done"]
