"""The scratch files that one recording's samples go to: one, or one for each channel. Runs in the child."""

import os
import shutil
from pathlib import Path

import numpy as np

from btworker.errors import BtworkerError, ErrorCode

SAMPLE_BYTES = 2
DISK_RESERVE_BYTES = 128 * 2**20
DISK_CHECK_BYTES = 16 * 2**20
MOST_CHANNELS = 32
"""Most channels that are transcribed by themselves."""


class SoundFiles:
    """Files of 16-bit samples, written at places: what nobody writes reads as zeros, and takes no room on the disk."""

    def __init__(self, path: Path) -> None:
        """Begin with the file of the first channel, or of the mix."""
        self.paths: list[Path] = []
        self._path = path
        self._descriptors: list[int] = []
        self._unchecked_bytes = DISK_CHECK_BYTES
        self._open(1)

    def write(self, data: bytes, place: int, *, first: int = 0, channels: int = 1) -> None:
        """Write frames of `channels` samples at sample `place` of the files from number `first` on. Raises DISK_FULL,
        and BAD_OPTION for too many channels."""
        self._open(first + channels)
        self._check_disk(len(data))
        rows = [data] if channels == 1 else np.frombuffer(data, dtype="<i2").reshape(-1, channels).T
        for descriptor, row in zip(self._descriptors[first:], rows, strict=False):
            _write_all(descriptor, row if isinstance(row, bytes) else row.tobytes(), place * SAMPLE_BYTES)

    def finish(self, sample_count: int) -> None:
        """Give all files the same length."""
        for descriptor in self._descriptors:
            os.ftruncate(descriptor, sample_count * SAMPLE_BYTES)

    def close(self) -> None:
        """Close the files."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def discard(self) -> None:
        """Remove the files."""
        for path in self.paths:
            path.unlink(missing_ok=True)

    def _open(self, count: int) -> None:
        if count > MOST_CHANNELS:
            raise BtworkerError(
                ErrorCode.BAD_OPTION,
                f"the recording has more than the {MOST_CHANNELS} channels that can be transcribed by themselves; "
                "ask for channels=mix, or split it",
                param="channels",
            )
        while len(self.paths) < count:
            number = len(self.paths)
            path = self._path.with_suffix(f".{number}.s16") if number else self._path
            self._descriptors.append(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o640))
            self.paths.append(path)

    def _check_disk(self, count: int) -> None:
        self._unchecked_bytes += count
        if self._unchecked_bytes >= DISK_CHECK_BYTES:
            self._unchecked_bytes = 0
            if shutil.disk_usage(self._path.parent).free < DISK_RESERVE_BYTES:
                raise BtworkerError(
                    ErrorCode.DISK_FULL,
                    "the worker's disk has no room for the decoded sound (115 MB an hour and channel); try again later",
                )


def _write_all(descriptor: int, data: bytes, at: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, at)
        data, at = data[written:], at + written
