"""The packages of a release, built once."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make wheel` makes."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "tools/packages.py", "--dist", str(folder)], cwd=ROOT, check=True, timeout=300)
    return folder
