"""How often a known voice gives its name to the wrong person, by the score and the margin that are asked for.

    python -W ignore -m bench.real.voices [--recordings DIR …] [--people NAME=RECORDING,… …] [--rttm NAME=FILE …]

A recording is of one person, unless a file says who speaks when; --people joins those of one person. Every stretch of
some seconds is embedded as a reference is. In a trial one stretch is the speaker of a recording, and the known voices
are a stretch each of some people: the speaker among them (by another stretch, of another recording where there is one),
or strangers alone.
"""

import argparse
import random
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.real.pipeline_folder import pipeline_folder
from bench.real.recordings import OWN, Recording, recordings
from bench.real.speakers import read_rttm, settings_of
from bench.speed.figures import markdown_table
from btworker.engine.cooperate.result import result_of
from btworker.engine.diarization.diarizer import Diarizer
from btworker.engine.diarization.voices import Likeness, match
from btworker.ffmpeg import SAMPLE_RATE
from btworker.transcript import Turn

STRETCH_S, SHORTEST_S = 5.0, 2.0
MOST_STRETCHES = 10
"""Of one person in one recording: the longest would outweigh all others."""
TRIALS = 50
"""Of each stretch, with other known people."""
SCORES = (0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)
MARGINS = (0.0, 0.05, 0.1)


@dataclass(frozen=True, eq=False)
class Stretch:
    """Some seconds of one person."""

    person: str
    recording: str
    voice: NDArray[Any]


@dataclass(frozen=True)
class Trial:
    """Whose voice, of some known ones, is most like one stretch."""

    person: str
    """Who speaks."""
    name: str
    score: float
    margin: float

    @classmethod
    def of(cls, speaker: Stretch, known: Sequence[Stretch]) -> "Trial":
        """Compare; the worker's rules are applied afterwards."""
        found = match({"A": speaker.voice}, [(one.person, one.voice) for one in known], Likeness(-1.0, -2.0))
        [best] = [one for one in found if one.matched]
        assert best.score is not None
        assert best.margin is not None
        return cls(speaker.person, best.name, best.score, best.margin)

    def named(self, score: float, margin: float) -> str | None:
        """The name that the speaker gets."""
        return self.name if self.score >= score and self.margin >= margin else None


def turns_of(one: Recording, rttm: Mapping[str, Path]) -> Iterator[Turn]:
    """Who speaks when, alone."""
    if one.name not in rttm:
        if one.voiced:
            yield Turn(one.voiced[0][0], one.voiced[-1][1], one.name)
        return
    turns = read_rttm(rttm[one.name])
    for turn in turns:
        others = [other for other in turns if other.speaker != turn.speaker]
        if not any(other.start < turn.end and turn.start < other.end for other in others):
            yield Turn(turn.start, turn.end, f"{one.name} {turn.speaker}")


def stretches(some: Sequence[Recording], people: Mapping[str, str], rttm: Mapping[str, Path]) -> list[Stretch]:
    """All that can be embedded."""
    diarizer, found = Diarizer(settings_of(pipeline_folder()), on_gpu=False), []
    for one in some:
        for turn in turns_of(one, rttm):
            starts = np.arange(turn.start, turn.end - SHORTEST_S, STRETCH_S)
            for start in starts[:: max(1, len(starts) // MOST_STRETCHES)][:MOST_STRETCHES]:
                end = min(turn.end, start + STRETCH_S)
                samples = one.samples[int(start * SAMPLE_RATE) : int(end * SAMPLE_RATE)]
                if one.voiced_s(start, end) >= SHORTEST_S and (voice := result_of(diarizer.voice(samples))) is not None:
                    found.append(Stretch(people.get(one.name, turn.speaker), one.name, voice))
    return found


def trials(found: Sequence[Stretch], known: int, *, with_own: bool) -> Iterator[Trial]:
    """Some for each stretch: with its own person among the known ones, or without."""
    luck = random.Random(known)
    for speaker in found:
        own = [one for one in found if one.person == speaker.person and one is not speaker]
        own = [one for one in own if one.recording != speaker.recording] or own
        others = sorted({one.person for one in found} - {speaker.person})
        for _ in range(TRIALS if own or not with_own else 0):
            names = luck.sample(others, min(len(others), known - with_own))
            voices = [luck.choice([one for one in found if one.person == name]) for name in names]
            yield Trial.of(speaker, [*voices, *([luck.choice(own)] if with_own else [])])


def row(score: float, margin: float, own: Sequence[Trial], strangers: Sequence[Trial]) -> list[str]:
    """Shares of names that are right and wrong, and of strangers who got a name."""
    names = [(trial.named(score, margin), trial.person) for trial in own]
    right = sum(name == person for name, person in names)
    wrong = sum(name not in (None, person) for name, person in names)
    false = sum(trial.named(score, margin) is not None for trial in strangers)
    shares = (f"{right / len(own):.1%}", f"{wrong / len(own):.2%}", f"{false / len(strangers):.2%}")
    return [f"{score:g}", f"{margin:g}", *shares]


def options_of() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recordings", type=Path, nargs="+", default=[OWN], help="folders with a manifest.json")
    parser.add_argument("--people", nargs="+", default=[], help="NAME=RECORDING,RECORDING: of one person")
    parser.add_argument("--rttm", nargs="+", default=[], help="NAME=FILE: who speaks when in a recording")
    parser.add_argument("--leave-out", nargs="+", default=[], help="recordings of several people, or of nobody")
    parser.add_argument("--known", type=int, nargs="+", default=[4, 10], help="known voices in a trial")
    return parser.parse_args()


def main() -> int:
    """Embed, compare, print."""
    options = options_of()
    torch.set_num_threads(1)
    pairs = [one.partition("=") for one in options.people]
    people = {recording: name for name, _, names in pairs for recording in names.split(",")}
    rttm = {name: Path(path) for name, _, path in (one.partition("=") for one in options.rttm)}
    some = {one.name: one for folder in options.recordings for one in recordings(folder) if not one.has_no_speech}
    found = stretches([one for name, one in some.items() if name not in options.leave_out], people, rttm)
    print(f"{len(found)} stretches of {len({one.person for one in found})} people")
    head = ["known", "score", "margin", "own name", "another's name", "strangers with a name"]
    rows = []
    for known in options.known:
        own, strangers = (list(trials(found, known, with_own=kind)) for kind in (True, False))
        print(f"{known} known: {len(own)} trials with the speaker, {len(strangers)} without")
        rows += [[str(known), *row(*rules, own, strangers)] for rules in product(SCORES, MARGINS)]
    print(markdown_table(head, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
