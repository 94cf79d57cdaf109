"""Recordings of 10 s to 10 min, an hour or what is asked for: the held-out ones of the tests, put together.

The same files every time. Runs before anything is timed.
"""

import json
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.speed.shapes import SEED
from btworker.engine.cooperate.result import result_of
from btworker.engine.sound.decoding import decode
from btworker.engine.sound.ffmpeg import Limits

ROOT = Path(__file__).resolve().parents[2]
RATE = 16_000
LENGTHS_S = (10, 600, 45, 20, 300, 120, 15, 90, 480, 30, 60, 240)
"""Of the files, over and over."""
PAUSE_S = 0.6

Samples = NDArray[np.int16]


@dataclass(frozen=True)
class Recording:
    """A file and what is said in it; the text is empty where nobody knows."""

    path: Path
    seconds: float
    text: str


def heldout_recordings(folder: Path, *, minutes: float) -> list[Recording]:
    """Speech that the demo model never heard, in files as LENGTHS_S says."""
    pieces = [(_sound(path, folder), _text(path)) for path in sorted((ROOT / "tests/data/heldout").glob("*.opus"))]
    return list(_put_together(pieces, folder, lengths_s=LENGTHS_S, minutes=minutes))


def dialogue_recordings(folder: Path, *, minutes: float) -> list[Recording]:
    """Several people in turns, in files of ten minutes."""
    pieces = [(_sound(path, folder), "") for path in sorted((ROOT / "tests/data/dialogues").glob("*.opus"))]
    return list(_put_together(pieces, folder, lengths_s=(600,), minutes=minutes))


def _put_together(
    pieces: Sequence[tuple[Samples, str]], folder: Path, *, lengths_s: Sequence[int], minutes: float
) -> Iterator[Recording]:
    """Each file takes pieces at random that fit, with a pause between them, until none does."""
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(SEED)
    pause = generator.normal(0, 8, int(PAUSE_S * RATE)).astype(np.int16)
    left_s, number = minutes * 60.0, 0
    while left_s > 5:
        wanted_s = min(lengths_s[number % len(lengths_s)], left_s)
        chosen: list[tuple[Samples, str]] = []
        room = wanted_s * RATE
        while fitting := [piece for piece in pieces if len(piece[0]) <= room]:
            chosen.append(fitting[int(generator.integers(len(fitting)))])
            room -= len(chosen[-1][0]) + len(pause)
        if not chosen and pieces[0][1]:
            return  # a text cannot be cut
        if not chosen:
            chosen = [(min((sound for sound, _ in pieces), key=len)[: int(room)], "")]
        samples = np.concatenate([part for sound, _ in chosen for part in (sound, pause)])
        path = _write(folder / f"{number:03d}.wav", samples)
        yield Recording(path, len(samples) / RATE, " ".join(text for _, text in chosen))
        left_s -= wanted_s
        number += 1


def _sound(path: Path, folder: Path) -> Samples:
    folder.mkdir(exist_ok=True)
    audio = decoded(path, folder / "piece.s16")
    samples: Samples = np.array(audio)
    return samples


def decoded(path: Path, scratch: Path) -> Samples:
    """The recording's samples, as a job decodes them: a map of the scratch file."""
    steps = decode(path, scratch, limits=Limits(12 * 3600.0), canceled=lambda: False)
    return result_of(steps).samples


def _text(path: Path) -> str:
    return str(json.loads(path.with_suffix(".json").read_text())["text"])


def _write(path: Path, samples: Samples) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.tobytes())
    return path
