"""Where ffmpeg is looked for (ffmpeg.py)."""

import errno
import importlib.util
import os
import subprocess
from pathlib import Path

import pytest

from btworker.ffmpeg import ffmpeg_version, find_ffmpeg


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the PATH; there is nothing in it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_the_systems_comes_first(path: Path) -> None:
    (path / "ffmpeg").touch(mode=0o755)
    assert find_ffmpeg() == path / "ffmpeg"


@pytest.mark.usefixtures("path")
def test_the_packages_is_found_where_no_program_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine that is short of memory for a moment: a child that then had none would fail all of its jobs."""

    def refused(*_: object, **__: object) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    with monkeypatch.context() as short:
        short.setattr(subprocess, "Popen", refused)
        found = find_ffmpeg()
    assert found is not None
    assert ffmpeg_version(found)


@pytest.mark.usefixtures("path")
def test_there_may_be_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the package comes without a program, as its source distribution does."""
    package = tmp_path / "imageio_ffmpeg"
    (package / "binaries").mkdir(parents=True)
    (package / "binaries" / "README.md").touch()
    origin = str(package / "__init__.py")
    for spec in (None, importlib.util.spec_from_file_location("imageio_ffmpeg", origin)):
        with monkeypatch.context() as changed:
            changed.setattr(importlib.util, "find_spec", lambda _, spec=spec: spec)
            assert find_ffmpeg() is None
