"""What .ci/run installs is what marked tests need: which of them a commit runs follows from its hash."""

import re
from pathlib import Path

from tests.conftest import PACKAGES, RIGHTS

ROOT = Path(__file__).resolve().parents[2]
ESSENTIAL = {"mount", "umount", "unshare", "setpriv", "dpkg-deb", "libseccomp"}
"""Of packages that no Debian is without."""
OF_A_RELEASE = {"debootstrap", "qemu-aarch64-static"}
"""Of tests that run with BTWORKER_FULL=1 alone."""


def test_every_tool_that_a_test_needs_is_installed() -> None:
    installed = dict(
        re.findall(r"([\w-]+):([\w-]+)", (ROOT / ".ci" / "run").read_text().partition("tools=(")[2].partition(")")[0])
    )
    text = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    needed = {
        tool for marker in re.findall(r"mark\.system\(([^)]*)\)", text) for tool in re.findall(r'"([^"]+)"', marker)
    }
    assert {"strace", "zsh"} <= needed
    assert needed - RIGHTS - ESSENTIAL - OF_A_RELEASE - set(installed) == set()
    assert {tool: PACKAGES.get(tool, tool) for tool in installed} == installed
