"""Fixtures of the media tests, and their mark."""

from pathlib import Path

import pytest

from tests.media.recordings import decoded, ffmpeg, make, original  # noqa: F401 - fixtures

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("media")
