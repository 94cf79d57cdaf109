"""Dialogues to measure on: people that the demo's Whisper understands in new company, sentences that no bank has.

A seed names a dialogue. Its reference says who speaks when (RTTM's turns) and who says which word.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from demo_model.audio import SAMPLE_RATE
from demo_model.synth import Utterance

from .bank import Studio
from .dialogues import gap_s, next_person
from .voices import UNDERSTOOD, Person, company

TAIL_S = 0.5
NOISE = 0.0005
MOST_IN_A_ROW = 2


@dataclass(frozen=True)
class Said:
    """A word or a turn: seconds from the start of the dialogue, and who."""

    start: float
    end: float
    person: str
    text: str = ""


@dataclass(frozen=True)
class Dialogue:
    """`samples` are float32 at 16 kHz; `turns` are the utterances in order."""

    samples: NDArray[np.float32]
    turns: tuple[Said, ...]
    words: tuple[Said, ...]

    @property
    def people(self) -> tuple[str, ...]:
        """Everybody who speaks, by name."""
        return tuple(sorted({turn.person for turn in self.turns}))


class Director:
    """Makes dialogues of sentences that are not in `known`."""

    def __init__(self, known: frozenset[str] = frozenset()) -> None:
        self._studio = Studio()
        self._known = known

    def dialogue(self, seed: int, *, length_s: float, people: int, overlaps: bool = True) -> Dialogue:
        """A dialogue of about `length_s` seconds in which `people` take turns."""
        rng = Random(seed)
        cast = company(rng, UNDERSTOOD, people)
        placed: list[tuple[int, Person, Utterance]] = []
        last: int | None = None
        in_a_row, clock = 0, int(0.5 * SAMPLE_RATE)
        while clock < length_s * SAMPLE_RATE:
            following = next_person(rng, people, last)
            in_a_row = in_a_row + 1 if following == last else 1
            if in_a_row > MOST_IN_A_ROW:
                continue
            utterance = self._new(rng, cast[following])
            placed.append((clock, cast[following], utterance))
            clock += len(utterance.samples)
            pause_s = gap_s(rng, same=following == last)
            clock += int((pause_s if overlaps else abs(pause_s) + 0.2) * SAMPLE_RATE)
            last = following
        return _composed(placed, rng)

    def _new(self, rng: Random, person: Person) -> Utterance:
        while True:
            utterance = self._studio.record(rng, person, template_share=0.75)
            if len(utterance.sentence.words) > 2 and utterance.sentence.text not in self._known:
                return utterance


def _composed(placed: list[tuple[int, Person, Utterance]], rng: Random) -> Dialogue:
    end = max(first + len(utterance.samples) for first, _, utterance in placed)
    samples = np.zeros(end + int(TAIL_S * SAMPLE_RATE), np.float32)
    turns: list[Said] = []
    words: list[Said] = []
    for first, person, utterance in placed:
        samples[first : first + len(utterance.samples)] += utterance.samples * np.float32(0.7 / 32768)
        start = first / SAMPLE_RATE
        turns.append(Said(start, start + utterance.duration_s, person.name, utterance.sentence.text))
        spoken = zip(utterance.sentence.text.split(), utterance.starts_s, utterance.ends_s, strict=True)
        words += [Said(start + begins, start + ends, person.name, word) for word, begins, ends in spoken]
    noise = np.random.default_rng(rng.getrandbits(32)).standard_normal(len(samples), dtype=np.float32)
    return Dialogue(samples + np.float32(NOISE) * noise, tuple(turns), tuple(sorted(words, key=lambda w: w.start)))


def known_sentences(bank: Path | None) -> frozenset[str]:
    """What was said in training."""
    return frozenset((bank / "sentences.txt").read_text().splitlines()) if bank else frozenset()


def plans(count: int, first_seed: int) -> list[tuple[int, float, int]]:
    """(seed, seconds, people): 3 to 10 minutes, 2 to 4 people, evenly."""
    return [(first_seed + n, 180.0 + 420.0 * n / max(1, count - 1), 2 + n % 3) for n in range(count)]
