"""The least and the greatest sample of each stretch of a recording, for drawing its waveform. Runs in the child.

One small file at several zooms, so that a player draws hours of sound without decoding any. docs/api.md has the format:
a header, then a table of the zooms, then the pairs of the coarsest zoom, and so on to the finest.
"""

import struct

import numpy as np
import numpy.typing as npt

from btworker.engine.sound.recording import Samples
from btworker.ffmpeg import SAMPLE_RATE

MAGIC = b"BTPK"
VERSION = 1
SAMPLES_PER_PEAK = (320, 3_200, 32_000)
"""Of each zoom, the finest first: 20 ms, 0.2 s and 2 s. Each divides the next."""
HEADER = struct.Struct("<4sHHIIQ")
"""Magic, version, number of zooms, samples a second, 0, number of samples."""
ZOOM = struct.Struct("<IIQ")
"""Samples in a peak, number of peaks, place of the first one in the file."""
PAIR_BYTES = 4
BYTES_PER_SECOND = sum(PAIR_BYTES * SAMPLE_RATE / samples for samples in SAMPLES_PER_PEAK)


class Peaks:
    """Peaks of samples that come block by block."""

    def __init__(self) -> None:
        self._zooms: list[list[npt.NDArray[np.int16]]] = [[] for _ in SAMPLES_PER_PEAK]
        self._sample_count = 0

    def feed(self, block: Samples) -> None:
        """Take in the next samples; all blocks but the last one hold whole peaks of the coarsest zoom."""
        self._sample_count += len(block)
        if not len(block):
            return
        low = high = block
        inside = 1
        for found, samples in zip(self._zooms, SAMPLES_PER_PEAK, strict=True):
            starts = np.arange(0, len(low), samples // inside)
            low, high = np.minimum.reduceat(low, starts), np.maximum.reduceat(high, starts)
            inside = samples
            found.append(np.stack((low, high), axis=1))

    def to_bytes(self) -> bytes:
        """Make the file."""
        zooms = [
            (samples, b"".join(pairs.astype("<i2").tobytes() for pairs in found))
            for samples, found in zip(SAMPLES_PER_PEAK, self._zooms, strict=True)
        ][::-1]
        place = HEADER.size + ZOOM.size * len(zooms)
        table = []
        for samples, data in zooms:
            table.append(ZOOM.pack(samples, len(data) // PAIR_BYTES, place))
            place += len(data)
        header = HEADER.pack(MAGIC, VERSION, len(zooms), SAMPLE_RATE, 0, self._sample_count)
        return b"".join((header, *table, *(data for _, data in zooms)))
