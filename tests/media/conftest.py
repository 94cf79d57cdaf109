"""Fixtures of the media tests."""

from tests.media.recordings import decoded, ffmpeg, make, original  # noqa: F401 - fixtures
