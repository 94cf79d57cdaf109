"""Writes the held-out recordings that the model is measured on: `NN.opus` and `NN.json`.

No sentence of them may be in a bank that was trained on (each `--bank` is checked), and every seed is new.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from random import Random

from .audio import OPUS, write_audio
from .corpus import VOICES
from .recordings import Recording, Turn, compose, write_reference
from .synth import Speaker, Utterance, speak_any

FIRST_SEED = 900_001


@dataclass(frozen=True)
class Plan:
    """How long a recording shall be, and what is special about it."""

    length_s: float
    voices: int = 1
    noise_level: float = 0.0
    edge_s: float = 0.25  # silence before the first word and after the last
    long_pause_s: float = 0.0  # a silence in its middle


PLANS: tuple[Plan, ...] = (
    Plan(2), Plan(3), Plan(3, edge_s=0.2), Plan(4, noise_level=0.002),
    Plan(6), Plan(7, edge_s=0.1), Plan(8, noise_level=0.002), Plan(9), Plan(10, voices=2), Plan(12, edge_s=2.5),
    Plan(14), Plan(16, voices=2, noise_level=0.001), Plan(20), Plan(24, edge_s=3.0), Plan(28), Plan(33, voices=2),
    Plan(40, long_pause_s=5.0), Plan(50, noise_level=0.002),
    Plan(65), Plan(75, voices=2), Plan(90, long_pause_s=8.0), Plan(110, noise_level=0.001, edge_s=1.5),
    Plan(300, voices=2), Plan(300),
)  # fmt: skip


class Recorder:
    """Speaks new sentences only."""

    def __init__(self, trained: frozenset[str]) -> None:
        self._speaker = Speaker()
        self._trained = trained

    def record(self, plan: Plan, *, number: int) -> Recording:
        """Compose one recording of a plan."""
        seed = FIRST_SEED + number
        rng = Random(seed)
        voices = [VOICES[(number + i * 3) % len(VOICES)] for i in range(plan.voices)]
        turns: list[Turn] = []
        clock = 0.0
        while not turns or clock < plan.length_s - plan.edge_s - 2:
            pause_s = rng.uniform(0.35, 1.0) if turns else plan.edge_s
            if plan.long_pause_s and len(turns) == 8:
                pause_s = plan.long_pause_s
            utterance = self._new(rng, rng.choice(voices))
            turns.append(Turn(pause_s, utterance))
            clock += pause_s + utterance.duration_s
        return compose(turns, tail_s=plan.edge_s, seed=seed, noise_level=plan.noise_level, gain=rng.uniform(0.4, 0.9))

    def _new(self, rng: Random, voice: str) -> Utterance:
        while True:
            utterance = speak_any(self._speaker, rng, voice=voice, template_share=0.75)
            if len(utterance.sentence.words) > 1 and utterance.sentence.text not in self._trained:
                return utterance


def trained_sentences(banks: list[Path]) -> frozenset[str]:
    """The text of every sentence in some banks."""
    entries = [entry for bank in banks for entry in json.loads((bank / "index.json").read_text())]
    texts = (" ".join(entry["words"]) for entry in entries)
    return frozenset(text[0].upper() + text[1:] + "." for text in texts)


def main() -> None:
    """Write the recordings of every plan."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bank", type=Path, action="append", default=[], help="a bank trained on (repeatable)")
    parser.add_argument("--out", type=Path, default=Path("tests/data/heldout"))
    a = parser.parse_args()
    recorder = Recorder(trained_sentences(a.bank))
    for number, plan in enumerate(PLANS, 1):
        recording = recorder.record(plan, number=number)
        write_audio(a.out / f"{number:02}.opus", recording.samples, codec=OPUS)
        write_reference(a.out / f"{number:02}.json", recording.reference)


if __name__ == "__main__":
    main()
