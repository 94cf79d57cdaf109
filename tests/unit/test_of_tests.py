"""Rules of the tests themselves, so that a test module can be read, moved and deleted by itself."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
MODULES = sorted(TESTS.rglob("*.py"))


def imported(tree: ast.Module) -> Iterator[str]:
    """Name every module that a file imports, at whatever depth."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)
            yield str(node.module)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


def modules_of_tests(tree: ast.Module) -> list[str]:
    """List the test modules among them."""
    return [
        name for name in imported(tree) if name.startswith("tests.") and name.rpartition(".")[2].startswith("test_")
    ]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(TESTS)))
def test_helpers_are_in_modules_of_their_own(path: Path) -> None:
    """No file takes a helper from a test module: what two of them need has a module without tests."""
    assert modules_of_tests(ast.parse(path.read_text())) == []


@pytest.mark.parametrize(
    "source", ["from tests.unit.test_jobs import A", "from tests.unit import test_jobs", "import tests.unit.test_jobs"]
)
def test_the_rule_sees_what_it_must(source: str) -> None:
    """A rule that finds nothing proves nothing."""
    assert modules_of_tests(ast.parse(source))
