"""What a processor can do, as /proc/cpuinfo says it."""

from pathlib import Path

import pytest

from btworker.cli.checks import Verdict, bfloat16_check
from btworker.processor import bfloat16_problem

CPUINFO = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx2 {flag} rdpid\nbugs\t\t: none\n\nprocessor\t: 1\n"


@pytest.mark.parametrize("flag", ["avx512_bf16", "amx_bf16"])
def test_a_processor_with_instructions_for_bfloat16(tmp_path: Path, flag: str) -> None:
    """One of both is enough, and the doctor says so."""
    path = tmp_path / "cpuinfo"
    path.write_text(CPUINFO.format(flag=flag))
    assert bfloat16_problem(path) is None
    assert bfloat16_check(bfloat16_problem(path)).verdict is Verdict.OK


@pytest.mark.parametrize("text", [CPUINFO.format(flag="avx512f"), "processor\t: 0\nFeatures\t: fp asimd bf16\n", ""])
def test_a_processor_without_them(tmp_path: Path, text: str) -> None:
    """An older one, one of arm64, which torch was not seen to do it on, and one that says nothing."""
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    problem = bfloat16_problem(path)
    assert problem is not None and "no instructions" in problem
    check = bfloat16_check(problem)
    assert check.verdict is Verdict.WARN and problem in check.found and "single" in check.mend


def test_a_system_that_does_not_say(tmp_path: Path) -> None:
    """Without /proc there is no guess."""
    problem = bfloat16_problem(tmp_path / "none")
    assert problem is not None and "cannot be told" in problem
