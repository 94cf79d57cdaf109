"""What everybody says: a folder of utterances by person, to train on."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from demo_model.audio import SAMPLE_RATE
from demo_model.corpus import sentence
from demo_model.synth import Speaker, Utterance

from .voices import UNDERSTOOD, Person, trained

UNDERSTOOD_TIMES = 5
"""The people of the held-out dialogues say so many times as much as everybody else."""


class Studio:
    """Records people, one sentence at a time."""

    def __init__(self) -> None:
        self._speaker = Speaker()

    def record(self, rng: Random, person: Person, *, template_share: float = 0.5) -> Utterance:
        """A new sentence by a person."""
        while True:
            words = sentence(rng, template_share)
            spoken = self._speaker.say(words, voice=person.voice, speed_wpm=rng.randint(140, 190), pitch=person.pitch)
            if spoken is not None:
                return _stretched(spoken, person)


def _stretched(spoken: Utterance, person: Person) -> Utterance:
    if person.stretch == 1:
        return spoken
    sound = resample_poly(spoken.samples.astype(np.float64), person.stretch.numerator, person.stretch.denominator)
    samples = np.clip(sound, -32768, 32767).astype(np.int16)
    starts_s = tuple(start * float(person.stretch) for start in spoken.starts_s)
    return Utterance(spoken.sentence, spoken.voice, samples, starts_s)


def build(folder: Path, *, each: int, seed: int) -> None:
    """Write samples.npy (int16, end to end), index.json (for every person the first sample and length of each of their
    utterances) and sentences.txt (what was said, for held-out dialogues to avoid)."""
    folder.mkdir(parents=True, exist_ok=True)
    studio, rng = Studio(), Random(seed)
    sounds: list[NDArray[np.int16]] = []
    index: dict[str, list[tuple[int, int]]] = {}
    said: set[str] = set()
    position = 0
    for person in trained():
        for _ in range(each * UNDERSTOOD_TIMES if person in UNDERSTOOD else each):
            utterance = studio.record(rng, person)
            said.add(utterance.sentence.text)
            samples = utterance.samples
            index.setdefault(person.name, []).append((position, len(samples)))
            sounds.append(samples)
            position += len(samples)
    np.save(folder / "samples.npy", np.concatenate(sounds))
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "sentences.txt").write_text("".join(f"{text}\n" for text in sorted(said)))
    print(f"{len(index)} people, {position / SAMPLE_RATE / 3600:.1f} h", flush=True)


class Bank:
    """The folder, read: utterances (float32, -1 to 1) by the name of their person."""

    def __init__(self, folder: Path) -> None:
        self._samples = np.load(folder / "samples.npy", mmap_mode="r")
        self._index: dict[str, list[list[int]]] = json.loads((folder / "index.json").read_text())
        self.people = trained()

    def utterance(self, rng: Random, person: Person) -> NDArray[np.float32]:
        """Anything that this person said."""
        first, count = rng.choice(self._index[person.name])
        return self._samples[first : first + count].astype(np.float32) / np.float32(32768)


def main() -> None:
    """Build a bank."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--each", type=int, default=24, help="utterances of each person (those of the dialogues: five times as many)"
    )
    parser.add_argument("--seed", type=int, default=301)
    a = parser.parse_args()
    build(a.folder, each=a.each, seed=a.seed)


if __name__ == "__main__":
    main()
