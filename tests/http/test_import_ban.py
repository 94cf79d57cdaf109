"""The ban on speech libraries bans; everything else in this folder runs under it."""

import importlib
import subprocess
import sys

import pytest

from tests.http.conftest import BANNED


@pytest.mark.parametrize("name", sorted(BANNED))
def test_the_ban_bans(name: str) -> None:
    """Importing a speech library fails here, even when another test has loaded it already."""
    with pytest.raises(ImportError, match="banned"):
        importlib.import_module(name)


def test_the_application_loads_no_speech_library() -> None:
    """A fresh interpreter that imports the whole front end has none of them in it, beside what it began with."""
    code = (
        "import sys; before = set(sys.modules)\n"  # a .pth file of pyannote makes an empty package at every start
        "import btworker.web.app, btworker.metrics\n"
        f"print(*(name for name in set(sys.modules) - before if name.partition('.')[0] in {set(BANNED)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""
