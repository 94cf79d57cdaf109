"""The lanes of `make test` hold every test once, and what is long says why."""

import ast
import re
from pathlib import Path

import pytest

import run_tests
from tests.slices import DEAR_STEP, dear_left_out, dear_tests

TESTS = Path("tests")
MINUTE_S = 60
LONG = {
    "faults/test_kill.py": "each kill is a start of the server: one for each system call, and fifty under load",
    "chaos/test_chaos.py": "a minute of faults, and the minute in which the last of them must be over",
    "acceptance/test_spread.py": "only a long recording is shared: 15 minutes, with and without help",
    "fleet/test_partition.py": "a cluster over network namespaces, and a minute in which one is cut off",
    "fleet/test_ray.py": "a cluster of three boxes, and what is killed of it and comes again",
    "installs/test_packages.py": "a Debian from debootstrap, and 5.8 GB of packages into it by pip",
    "speech/test_fast.py": "all held-out recordings, in both modes",
    "speech/test_demo_model.py": "all held-out recordings, by us and by openai-whisper",
}
"""Files with a test that takes more than a minute on a quiet machine, with all cases, and why."""
FILES = sorted(path for path in TESTS.rglob("test_*.py"))
MARKS = {"speech", "serial"}


def marks_in(path: Path) -> set[str]:
    """The names after pytest.mark in a file."""
    tree = ast.parse(path.read_text())
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return {one.attr for one in found if isinstance(one.value, ast.Attribute) and one.value.attr == "mark"}


def is_below(path: Path, places: tuple[str, ...]) -> bool:
    """Whether a file is one of the places, or in one of them."""
    return any(path == Path(place) or Path(place) in path.parents for place in places)


def test_every_test_is_in_a_lane() -> None:
    """Whatever its marks: a new folder is not forgotten."""
    assert len(FILES) > 100
    unit, service, speech, page, serial = run_tests.LANES
    assert [path for path in FILES if "serial" in marks_in(path) and not is_below(path, serial.folders)] == []
    assert [path for path in FILES if "speech" in marks_in(path) and not is_below(path, speech.folders)] == []
    others = [path for path in FILES if "speech" not in marks_in(path)]
    assert [path for path in others if not is_below(path, (*unit.folders, *service.folders, *page.folders))] == []


def test_what_is_long_says_why() -> None:
    """Whoever has more than ten minutes before a test counts as hung is on the list, and nobody else."""
    allowed = [
        path.relative_to(TESTS).as_posix()
        for path in FILES
        if max(map(int, re.findall(r"\btimeout\((\d+)\)", path.read_text())), default=0) > 10 * MINUTE_S
    ]
    assert sorted(allowed) == sorted(LONG)


def test_the_dear_tests_are_there() -> None:
    """Each that tests/dear.tsv names is in its file: one that is gone would leave the list to what is quick."""
    for node in (node for found in dear_tests().values() for node in found):
        path, name = node.split("::", 1)
        assert f"def {name.split('[')[0]}(" in Path(path).read_text(), node


def test_each_dear_test_is_met(monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit takes about one in five; forty commits take all of them."""
    monkeypatch.setattr("tests.slices.FULL", False)
    every, met = {node for found in dear_tests().values() for node in found}, set()
    for number in range(40):
        monkeypatch.setenv("SLICE", str(number))
        taken = every - dear_left_out()
        assert abs(len(taken) - len(every) / DEAR_STEP) <= len(dear_tests())
        met |= taken
    assert met == every


def test_what_takes_most_of_the_time_is_dear() -> None:
    """The longest, up to the share; and their ids are pytest's."""
    durations = [
        (90.0, "LANE one"),
        (50.0, "tests.a.test_b::test_c[x-1]"),
        (36.0, "tests.test_d::test_e"),
        (14.0, "a::b"),
    ]
    assert run_tests.dearest(durations) == [(50.0, "tests/a/test_b.py::test_c[x-1]"), (36.0, "tests/test_d.py::test_e")]
