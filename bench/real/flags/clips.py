"""Clips: stretches of recordings, faster and slower, with sounds between them, over them and by themselves.

Recordings and sounds are divided into two halves first, so that no voice and no sound is in both. A clip's number alone
decides what is done to it: the same folders give the same clips.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.real.flags.labels import Spoken
from bench.real.recordings import decoded
from btworker.ffmpeg import SAMPLE_RATE

HALVES = ("chosen on", "held out")
FURTHER = "further clips"
"""Of what is held out: made after all was chosen."""
STRETCH_S = (12.0, 45.0)
"""Of one recording."""
SOUND_S = (2.0, 20.0)
"""Between two stretches."""
SPEEDS = (1.0, 1.0, 1.0, 0.85, 0.93, 1.07, 1.15, 1.3)
LOUDEST = 30_000
Samples = NDArray[np.float64]


@dataclass(frozen=True)
class Recipe:
    """What is done to clips, as shares of them and as values of which each is as likely as the others."""

    name: str
    number: int
    snrs_db: tuple[float | None, ...]
    """Of speech over the sound that is mixed in; None: clean."""
    temperatures: tuple[float | None, ...]
    """None: the default, one after the other until a text is acceptable."""
    without_speech: float
    """Sound alone."""
    between: float
    """A sound between two stretches of speech."""
    exact: float = 0.4
    """In exact mode."""
    language_given: float = 0.7
    """The language is not detected."""


HARD = Recipe(
    "hard",
    0,
    snrs_db=(None, None, None, 20, 10, 5, 0, -5, -10, -15),
    temperatures=(None, None, None, None, None, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
    without_speech=0.3,
    between=0.4,
)
"""For inventions."""
ORDINARY = Recipe(
    "ordinary",
    1,
    snrs_db=(None, None, 20, 10, 5),
    temperatures=(None, None, None, 0.0),
    without_speech=0.0,
    between=0.2,
)
"""As a worker gets recordings: what is flagged of them has to be few."""
NOBODY = Recipe(
    "nobody", 2, snrs_db=(), temperatures=(None, None, 0.0, 0.2, 0.4, 0.6, 0.8, 1.0), without_speech=1.0, between=0.0
)
"""Nobody speaks."""


@dataclass(frozen=True, eq=False)
class Voice:
    """A recording, and when its words are spoken."""

    name: str
    language: str
    samples: NDArray[np.int16]
    spoken: tuple[Spoken, ...]


@dataclass(frozen=True, eq=False)
class Half:
    """Recordings and sounds that are in no other half."""

    name: str
    voices: Sequence[Voice]
    sounds: Mapping[str, Sequence[Samples]]
    """By kind: the name's first part."""


@dataclass(frozen=True, eq=False)
class Clip:
    """A sound to transcribe, and how."""

    half: str
    recipe: Recipe
    what: str
    samples: NDArray[np.int16]
    language: str
    """Of what is spoken; empty where nobody speaks."""
    spoken: tuple[Spoken, ...]
    options: Mapping[str, Any]
    """Of the job: decode, language, temperature."""

    @property
    def sha256(self) -> str:
        """Of the sound."""
        return hashlib.sha256(self.samples.tobytes()).hexdigest()


def halves(voices: Sequence[Voice], sounds: Path) -> tuple[Half, Half]:
    """Divide both: voices by who speaks (the first part of the name), longest first to the shorter half."""
    speakers = defaultdict[str, list[Voice]](list)
    for voice in voices:
        speakers[_kind(voice.name)].append(voice)
    divided: tuple[list[Voice], list[Voice]] = ([], [])
    for name in sorted(speakers, key=lambda one: (-_length(speakers[one]), one)):
        min(divided, key=_length).extend(speakers[name])
    files = sorted(sounds.iterdir())
    kinds = sorted({_kind(path.stem) for path in files})
    found: tuple[dict[str, list[Samples]], dict[str, list[Samples]]] = ({}, {})
    at = 0
    for kind in kinds:  # every other file, also where a kind has one alone
        for path in files:
            if _kind(path.stem) == kind:
                found[at % 2].setdefault(kind, []).append(decoded(path).astype(np.float64))
                at += 1
    first, second = (Half(name, divided[n], found[n]) for n, name in enumerate(HALVES))
    return first, second


def _kind(name: str) -> str:
    return name.replace("_", "-").split("-")[0].rstrip("0123456789")


def _length(voices: Sequence[Voice]) -> int:
    return sum(len(voice.samples) for voice in voices)


def clips(half: Half, recipe: Recipe, *, count: int, english: bool, first: int = 0) -> Iterator[Clip]:
    """Make that many, always the same, from number `first` on."""
    voices = [voice for voice in half.voices if voice.language == "en" or not english]
    for number in range(first, first + count):
        rng = np.random.default_rng([HALVES.index(half.name), english, number, *([recipe.number] * recipe.number)])
        if rng.random() < recipe.without_speech:
            yield _without_speech(half, recipe, rng)
        else:
            yield _with_speech(half, recipe, voices, rng)


def _without_speech(half: Half, recipe: Recipe, rng: np.random.Generator) -> Clip:
    kind, sound = _sound(half, rng, seconds=float(rng.uniform(10, 30)))
    sound *= rng.choice([300, 1000, 3000]) / max(sound.std(), 1.0)
    options = {"decode": "exact", "language": "", "temperature": _choice(rng, recipe.temperatures)}
    return Clip(half.name, recipe, f"{kind} alone", _int16(sound), "", (), options)


def _with_speech(half: Half, recipe: Recipe, voices: Sequence[Voice], rng: np.random.Generator) -> Clip:
    voice = voices[rng.choice(len(voices), p=_shares(voices))]
    samples, spoken = _stretch(voice, rng)
    what = "clean"
    same = [one for one in voices if one.language == voice.language]
    if rng.random() < recipe.between:
        kind, sound = _sound(half, rng, seconds=float(rng.uniform(*SOUND_S)))
        sound *= rng.choice([0.1, 0.5, 1.0]) * samples.std() / max(sound.std(), 1.0)
        other, after = _stretch(same[rng.integers(len(same))], rng)
        at_s = (len(samples) + len(sound)) / SAMPLE_RATE
        samples, spoken = np.concatenate([samples, sound, other]), (*spoken, *_moved(after, at_s, 1.0))
        what = f"{kind} between"
    speed, snr = _choice(rng, SPEEDS), _choice(rng, recipe.snrs_db)
    samples, spoken = _faster(samples, speed), _moved(spoken, 0.0, speed)
    if snr is not None:
        kind, sound = _sound(half, rng, seconds=len(samples) / SAMPLE_RATE + 1)
        sound = sound[: len(samples)]
        samples = samples + sound * samples.std() / max(sound.std(), 1.0) / 10 ** (snr / 20)
        what = f"{kind} {snr:g} dB"
    options = {
        "decode": "exact" if rng.random() < recipe.exact else "fast",
        "language": voice.language if rng.random() < recipe.language_given else "",
        "temperature": _choice(rng, recipe.temperatures),
    }
    return Clip(half.name, recipe, what, _int16(samples), voice.language, tuple(spoken), options)


def _choice(rng: np.random.Generator, some: Sequence[Any]) -> Any:
    return some[rng.integers(len(some))]


def _shares(voices: Sequence[Voice]) -> list[float]:
    return [len(voice.samples) / _length(voices) for voice in voices]


def _stretch(voice: Voice, rng: np.random.Generator) -> tuple[Samples, tuple[Spoken, ...]]:
    """Cut a part out, anywhere, also within a word."""
    length = min(int(rng.uniform(*STRETCH_S) * SAMPLE_RATE), len(voice.samples))
    first = int(rng.integers(len(voice.samples) - length + 1))
    start_s, end_s = first / SAMPLE_RATE, (first + length) / SAMPLE_RATE
    inside = [word for word in voice.spoken if word.end > start_s and word.start < end_s]
    return voice.samples[first : first + length].astype(np.float64), tuple(_moved(inside, -start_s, 1.0))


def _sound(half: Half, rng: np.random.Generator, *, seconds: float) -> tuple[str, Samples]:
    """Take a sound of any kind, over and over if it is short; white noise and faint noise are kinds, too."""
    length = int(seconds * SAMPLE_RATE)
    kind = _choice(rng, [*half.sounds, "white", "faint"])
    if kind in half.sounds:
        whole = _choice(rng, half.sounds[kind])
        return kind, np.resize(np.roll(whole, -int(rng.integers(len(whole)))), length)
    noise = rng.standard_normal(length) * (1000 if kind == "white" else 3)
    return kind, noise


def _moved(words: Sequence[Spoken], seconds: float, speed: float) -> Iterator[Spoken]:
    for word in words:
        yield replace(word, start=(word.start + seconds) / speed, end=(word.end + seconds) / speed)


def _faster(samples: Samples, speed: float) -> Samples:
    """Play it at another speed, pitch and all."""
    at = np.arange(int(len(samples) / speed)) * speed
    return np.interp(at, np.arange(len(samples)), samples)


def _int16(samples: Samples) -> NDArray[np.int16]:
    loudest = np.abs(samples).max(initial=1.0)
    return (samples * min(1.0, LOUDEST / loudest)).astype(np.int16)
