"""The people of the dialogues: espeak-ng voices, each at one pitch, some made shorter or taller by resampling."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from random import Random

from demo_model.corpus import VOICES

DIALOGUE_PITCHES = (40, 60)
_VARIANTS = (*(f"+m{n}" for n in range(1, 9)), *(f"+f{n}" for n in range(1, 6)), "")
_ACCENTS = ("en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-us-nyc", "en-029")
_PITCHES = (30, 45, 60, 75)
_STRETCHES = (Fraction(9, 10), Fraction(1), Fraction(11, 10))
TRAINED_SPEAKERS = 420
_SEED = 7


@dataclass(frozen=True)
class Person:
    """A voice of espeak-ng (accent and variant), its pitch (0 to 99), and a factor on the length of every sound, which
    moves pitch and formants down as it grows."""

    voice: str
    pitch: int
    stretch: Fraction = Fraction(1)

    @property
    def timbre(self) -> str:
        """The variant of the voice: people of one variant differ in accent and pitch only."""
        return self.voice.partition("+")[2]

    @property
    def name(self) -> str:
        return f"{self.voice}/{self.pitch}" + ("" if self.stretch == 1 else f"/{self.stretch}")


# Those whom the demo's Whisper understands: the held-out dialogues are theirs alone.
UNDERSTOOD: tuple[Person, ...] = tuple(Person(voice, pitch) for voice, pitch in product(VOICES, DIALOGUE_PITCHES))


def trained() -> tuple[Person, ...]:
    """Everyone whom the models hear in training: those above, and several hundred more."""
    others = [
        Person(accent + variant, pitch, stretch)
        for accent, variant, pitch, stretch in product(_ACCENTS, _VARIANTS, _PITCHES, _STRETCHES)
    ]
    chosen = Random(_SEED).sample([one for one in others if one not in UNDERSTOOD], TRAINED_SPEAKERS - len(UNDERSTOOD))
    return (*UNDERSTOOD, *chosen)


def company(rng: Random, people: tuple[Person, ...], count: int) -> tuple[Person, ...]:
    """Some people of different timbre, who can meet in a dialogue and be told apart."""
    met: list[Person] = []
    while len(met) < count:
        candidate = rng.choice(people)
        if all(candidate.timbre != other.timbre for other in met):
            met.append(candidate)
    return tuple(met)
