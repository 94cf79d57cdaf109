"""Run the tests in lanes: what only waits goes four at a time, what computes on each core, what measures by itself.

`make test` is this. Each lane is one pytest; the time of every test and lane is kept in build/tests, and the slowest
twenty are printed. Standard library only, but runs in the environment that has pytest.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "build" / "tests"
DEAR, DEAR_SHARE = ROOT / "tests" / "dear.tsv", 0.85
"""The longest tests, which together take this share of the time: a commit runs one in five of them (tests/slices.py),
`make full` all."""
CORES = len(os.sched_getaffinity(0))
SLOWEST = 20
NO_TESTS = 5
"""pytest's exit status where a lane has none."""


@dataclass(frozen=True)
class Lane:
    """One pytest: which tests, and how many at a time. One worker means none of xdist's."""

    name: str
    folders: tuple[str, ...]
    marks: str
    workers: int = 1
    distribution: str = "load"


SPEECH = (
    "tests/speech", "tests/media", "tests/security", "tests/acceptance", "tests/process", "tests/clients", "tests/gpu",
    "tests/real", "tests/releases", "tests/fleet/test_sharing.py", "tests/unit/test_channels_merged.py",
    "tests/unit/test_cli.py",
)  # fmt: skip
"""Where the tests with the mark are; tests/unit/test_lanes.py knows if one is elsewhere."""
LANES = (
    Lane("unit and HTTP", ("tests/unit", "tests/http"), "not serial and not speech", 2 * CORES),
    Lane(
        "processes, faults, attacks, acceptance",
        (
            *("tests/process", "tests/faults", "tests/security", "tests/chaos", "tests/acceptance", "tests/installs"),
            *("tests/fleet", "tests/clients/test_workflows.py"),
        ),
        "not serial and not speech and not ray",
        2 * CORES,
        "loadscope",
    ),
    # Workers hold torch, models and what whisper's tests need: about 2 GB each
    Lane("speech", SPEECH, "speech and not serial", min(CORES, 8), "loadfile"),
    # One worker with the model and one browser for all of them
    Lane("page", ("tests/page",), "not serial"),
    Lane("one at a time", ("tests",), "serial"),
)
QUICK = LANES[:1]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the lanes asked for; return 1 where a test failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="unit and HTTP only")
    names = [lane.name for lane in LANES]
    parser.add_argument("--lane", action="append", choices=names, help="only this lane; may be given again")
    parser.add_argument("--marks", default="", help="only tests with these marks, as pytest's -m has them")
    parser.add_argument("--write-dear", action="store_true", help="run all, and write tests/dear.tsv")
    parser.add_argument("--name", default="tests", help="what the files of durations are called")
    parser.add_argument("pytest_arguments", nargs="*", help="after --: for every pytest")
    args = parser.parse_args(argv)
    lanes = QUICK if args.quick else tuple(lane for lane in LANES if lane.name in (args.lane or names))
    print(introduction(quick=args.quick), flush=True)
    RESULTS.mkdir(parents=True, exist_ok=True)
    failed, durations = False, []
    for number, lane in enumerate(lanes, start=1):
        print(f"\n===== {number} of {len(lanes)}: {lane.name} =====", flush=True)
        report = RESULTS / f"{args.name}-{number}.xml"
        report.unlink(missing_ok=True)
        began = time.monotonic()
        status = run(lane, report, args.marks, [*([] if args.write_dear else ["--slice-dear"]), *args.pytest_arguments])
        took = time.monotonic() - began
        failed |= status not in (0, NO_TESTS)
        durations += [*tests_in(report), (took, f"LANE {lane.name}")]
    write(RESULTS / f"{args.name}.tsv", durations)
    if args.write_dear:
        write(DEAR, dearest(durations))
    print_slowest(durations, RESULTS / f"{args.name}.tsv")
    return int(failed)


def introduction(*, quick: bool) -> str:
    """What the person at the terminal is in for."""
    if quick:
        return "The unit and HTTP tests: under 2 minutes on two cores."
    return (
        "All quick tests, and one in five of those that take longest: about 8 minutes on two cores.\n"
        "The quick part, unit and HTTP: make test-quick (under 2 minutes). All cases of all tests: make full (hours)."
    )


def run(lane: Lane, report: Path, marks: str, arguments: Sequence[str]) -> int:
    """One pytest; its exit status."""
    command = [sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}"]
    command += ["-m", f"({lane.marks}) and ({marks})" if marks else lane.marks]
    if lane.workers > 1:
        command += ["-n", str(lane.workers), "--dist", lane.distribution]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"} if lane.workers > 1 else dict(os.environ)
    return subprocess.run([*command, *arguments, *lane.folders], cwd=ROOT, env=environment, check=False).returncode


def tests_in(report: Path) -> Iterator[tuple[float, str]]:
    """Seconds and name of every test in pytest's report; nothing where pytest did not get so far."""
    if report.is_file():
        for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314 - pytest wrote it
            yield float(case.get("time", 0)), f"{case.get('classname')}::{case.get('name')}"


def dearest(durations: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """Seconds and ids of the longest tests, those that take `DEAR_SHARE` of the time of all."""
    tests = sorted(((seconds, node_of(name)) for seconds, name in durations if "::" in name), reverse=True)
    left_s = DEAR_SHARE * sum(seconds for seconds, _ in tests)
    found = []
    for seconds, node in tests:
        if left_s <= 0:
            break
        found.append((seconds, node))
        left_s -= seconds
    return found


def node_of(name: str) -> str:
    """pytest's id of a test as the reports name it: tests.unit.test_a::test_b[1] is in tests/unit/test_a.py."""
    module, test = name.split("::", 1)
    return f"{module.replace('.', '/')}.py::{test}"


def write(path: Path, durations: Sequence[tuple[float, str]]) -> None:
    """Keep all of them, the longest first."""
    path.write_text("".join(f"{seconds:.2f}\t{name}\n" for seconds, name in sorted(durations, reverse=True)))


def print_slowest(durations: Sequence[tuple[float, str]], path: Path) -> None:
    """The lanes, then the slowest tests."""
    lanes = [(seconds, name.removeprefix("LANE ")) for seconds, name in durations if name.startswith("LANE ")]
    tests = sorted((one for one in durations if not one[1].startswith("LANE ")), reverse=True)
    print(f"\nThe slowest of {len(tests)} tests (all of them: {path.relative_to(ROOT)})")
    for seconds, name in tests[:SLOWEST]:
        print(f"{seconds:7.1f} s  {name}")
    print("\nLanes")
    for seconds, name in lanes:
        print(f"{seconds:7.1f} s  {name}")


if __name__ == "__main__":
    sys.exit(main())
