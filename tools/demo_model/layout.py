"""Lays utterances of the bank out in one window: who speaks when, and where the window cuts them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from .audio import SAMPLE_RATE
from .corpus import Sentence

_MID_SENTENCE_SHARE = 0.06
_LEAST_OVERLAP_S = 0.08  # less of a sentence than this at the end of a window is not heard as one


@dataclass(frozen=True)
class Recorded:
    """An utterance of the bank: its words, their starts in seconds, its samples (int16)."""

    voice: str
    words: tuple[str, ...]
    starts_s: tuple[float, ...]
    samples: NDArray[np.int16]

    @property
    def duration_s(self) -> float:
        return len(self.samples) / SAMPLE_RATE


@dataclass(frozen=True)
class Placed:
    """An utterance that begins `start_s` after the window does (before it, when negative)."""

    utterance: Recorded
    start_s: float

    @property
    def end_s(self) -> float:
        return self.start_s + self.utterance.duration_s

    def word_spans(self) -> list[tuple[str, float, float]]:
        """Word, start and end in seconds of the window."""
        ends = (*self.utterance.starts_s[1:], self.utterance.duration_s)
        return [
            (word, self.start_s + start, self.start_s + end)
            for word, start, end in zip(self.utterance.words, self.utterance.starts_s, ends, strict=True)
        ]


@dataclass(frozen=True)
class Layout:
    """A window of `window_s` whose recording goes on until `content_s`; after that there is no audio."""

    window_s: float
    content_s: float
    complete: tuple[Placed, ...]
    cut: Placed | None = None  # begins in the window and ends after it


class Bank:
    """One or more folders of `synth.build_bank`, by voice, without the sentences of `left_out`."""

    def __init__(self, folders: list[Path], left_out: frozenset[str]) -> None:
        self.by_voice: dict[str, list[Recorded]] = {}
        self._by_pair: dict[tuple[str, tuple[str, str]], list[Recorded]] = {}  # two words in a row
        for folder in folders:
            samples = np.load(folder / "samples.npy", mmap_mode="r")
            for entry in json.loads((folder / "index.json").read_text()):
                if Sentence(tuple(entry["words"])).text in left_out:
                    continue
                first = entry["first_sample"]
                recorded = Recorded(
                    entry["voice"],
                    tuple(entry["words"]),
                    tuple(entry["starts_s"]),
                    samples[first : first + entry["sample_count"]],
                )
                self.by_voice.setdefault(recorded.voice, []).append(recorded)
                for pair in pairwise(recorded.words):
                    self._by_pair.setdefault((recorded.voice, pair), []).append(recorded)
        self.voices = sorted(self.by_voice)

    def draw(
        self, rng: Random, voice: str | None, *, earlier: Sequence[Recorded] = (), alike_share: float = 0.0
    ) -> Recorded:
        """An utterance of a voice, of any voice when None.

        `alike_share` of them have two words in a row in common with one of `earlier`, or are the same sentence.
        """
        voice = voice or rng.choice(self.voices)
        if earlier and rng.random() < alike_share:
            pairs = list(pairwise(rng.choice(earlier).words))
            alike = self._by_pair.get((voice, rng.choice(pairs)), []) if pairs else []
            if alike:
                return rng.choice(alike)
        return rng.choice(self.by_voice[voice])


def lead_s(rng: Random, window_s: float) -> float:
    """Silence before the first word: short as a rule, long at times."""
    kind = rng.random()
    if kind < 0.45:
        return rng.uniform(0, 0.3)
    if kind < 0.85:
        return rng.uniform(0.2, 1.1)
    return rng.uniform(0.8, min(12.0, window_s / 2))


def pause_s(rng: Random) -> float:
    """Silence between two sentences."""
    return rng.uniform(0.15, 1.1) if rng.random() < 0.85 else rng.uniform(0.8, 6.0)


def short_layout(bank: Bank, rng: Random, window_s: float) -> Layout:
    """A clip that holds only complete sentences, as many as there is room for."""
    voice = rng.choice(bank.voices) if rng.random() < 0.7 else None
    clock = rng.uniform(0, 0.8)
    placed: list[Placed] = []
    for _ in range(20):
        candidate = Placed(bank.draw(rng, voice), clock)
        if candidate.end_s <= window_s - 0.05:
            placed.append(candidate)
            clock = candidate.end_s + rng.uniform(0.15, 0.9)
    last_s = placed[-1].end_s if placed else 0.0
    content_s = rng.uniform(last_s, window_s) if rng.random() < 0.4 else window_s
    return Layout(window_s, content_s, tuple(placed))


def full_layout(
    bank: Bank, rng: Random, window_s: float, *, last_share: float = 0.5, alike_share: float = 0.0
) -> Layout:
    """A window of a longer recording, cut as transcribe's seek cuts it; some are the recording's last."""
    voice = rng.choice(bank.voices) if rng.random() < 0.7 else None
    last = rng.random() < last_share
    speech_until_s = rng.uniform(0.5, window_s - 1.0) if last else window_s + 1
    clock = lead_s(rng, window_s)
    placed: list[Placed] = []
    cut: Placed | None = None
    if rng.random() < _MID_SENTENCE_SHARE:
        first = bank.draw(rng, voice)
        clock = -rng.uniform(0, first.duration_s)
        placed.append(Placed(first, clock))
        clock += first.duration_s + pause_s(rng)
    while clock < min(speech_until_s, window_s - _LEAST_OVERLAP_S):
        earlier = [one.utterance for one in placed]
        candidate = Placed(bank.draw(rng, voice, earlier=earlier, alike_share=alike_share), clock)
        if candidate.end_s > window_s:
            cut = candidate if not last else None
            break
        placed.append(candidate)
        clock = candidate.end_s + pause_s(rng)
    content_s = window_s if not last else _content_s(rng, placed[-1].end_s if placed else 0.0, window_s)
    return Layout(window_s, content_s, tuple(placed), cut)


def _content_s(rng: Random, last_s: float, window_s: float) -> float:
    """Where a recording ends: usually soon after its last word."""
    if rng.random() < 0.25:
        return window_s
    return min(window_s, last_s + (rng.uniform(0, 1.5) if rng.random() < 0.7 else rng.uniform(0, 12)))


def silent_layout(rng: Random, window_s: float) -> Layout:
    """Nobody speaks."""
    return Layout(window_s, rng.uniform(0.2, window_s) if rng.random() < 0.6 else window_s, ())
