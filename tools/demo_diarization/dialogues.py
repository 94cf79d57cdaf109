"""Lays out who speaks when: turns, pauses, and now and then two at once."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, lfilter

from demo_model.audio import SAMPLE_RATE

from .bank import Bank
from .voices import company

FRAME = 160
"""Samples of a label: 10 ms."""
MAX_PEOPLE = 3
"""In one chunk; a powerset of three people, at most two at once."""
_SAME_PERSON = 0.35
_OVERLAP = 0.15


def gap_s(rng: Random, *, same: bool) -> float:
    """Silence before the next utterance in seconds; negative where somebody cuts in."""
    if not same and rng.random() < _OVERLAP:
        return -rng.uniform(0.1, 0.7)
    return rng.uniform(0.15, 1.2) if rng.random() < 0.9 else rng.uniform(1.0, 4.0)


def next_person(rng: Random, count: int, last: int | None) -> int:
    """Whose turn it is."""
    if last is not None and (count == 1 or rng.random() < _SAME_PERSON):
        return last
    return rng.choice([one for one in range(count) if one != last])


@dataclass(frozen=True)
class Chunk:
    """`samples` (float32) and `active`, (frames of 10 ms, MAX_PEOPLE) of 0 and 1."""

    samples: NDArray[np.float32]
    active: NDArray[np.float32]


def training_chunk(bank: Bank, rng: Random, duration_s: float) -> Chunk:
    """A piece of some dialogue, cut anywhere."""
    length = int(duration_s * SAMPLE_RATE)
    people = company(rng, bank.people, rng.choice((1, 2, 2, 2, 2, 3, 3)))
    samples = np.zeros(length, np.float32)
    active = np.zeros((length // FRAME, MAX_PEOPLE), np.float32)
    clock, last = rng.randint(-2 * SAMPLE_RATE, SAMPLE_RATE), None
    while clock < length and rng.random() < 0.97:
        last = next_person(rng, len(people), last)
        spoken = bank.utterance(rng, people[last]) * np.float32(rng.uniform(0.35, 1))
        first, end = max(0, clock), min(length, clock + len(spoken))
        if end > first:
            samples[first:end] += spoken[first - clock : end - clock]
            active[first // FRAME : end // FRAME, last] = 1
        clock += len(spoken)
        clock += int(gap_s(rng, same=False) * SAMPLE_RATE)
    return Chunk(roughened(samples, rng), active)


def roughened(samples: NDArray[np.float32], rng: Random) -> NDArray[np.float32]:
    """Noise, a room now and then, a telephone now and then, another loudness."""
    rough = samples
    if rng.random() < 0.25:
        delay, share = rng.randint(200, 1200), rng.uniform(0.1, 0.4)
        rough = rough + np.float32(share) * np.pad(rough, (delay, 0))[: len(rough)]
    if rng.random() < 0.15:
        rough = lfilter(*butter(4, [300, 3400], "bandpass", fs=SAMPLE_RATE), rough).astype(np.float32)
    noise = np.random.default_rng(rng.getrandbits(32)).standard_normal(len(rough), dtype=np.float32)
    return (rough * np.float32(rng.uniform(0.3, 1)) + np.float32(10 ** rng.uniform(-4.5, -2.3)) * noise).astype(
        np.float32
    )
