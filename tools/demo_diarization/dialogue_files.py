"""Dialogues on disk: `NN.opus` and `NN.json`, which has the turns and the words with their times and people."""

from __future__ import annotations

import argparse
import json
from dataclasses import astuple
from pathlib import Path

from demo_model.audio import OPUS, read_audio, write_audio

from .heldout import Dialogue, Director, Said, known_sentences

FIRST_SEED = 980_001
PLANS = ((95.0, 2), (120.0, 3), (150.0, 4))
"""(seconds, people) of the dialogues that ship with the tests."""


def write(path: Path, dialogue: Dialogue) -> None:
    """The sound at `path`, the reference beside it, one turn or word a line."""
    write_audio(path, dialogue.samples, codec=OPUS)
    parts = {"turns": dialogue.turns, "words": dialogue.words}
    rows = {name: ",\n".join(json.dumps(_row(one)) for one in items) for name, items in parts.items()}
    lines = ",\n".join(f'"{name}": [\n{text}\n]' for name, text in rows.items())
    path.with_suffix(".json").write_text(f"{{\n{lines}\n}}\n")


def read(path: Path) -> Dialogue:
    """What `write` wrote."""
    shape = json.loads(path.with_suffix(".json").read_text())
    turns, words = (tuple(Said(*row) for row in shape[name]) for name in ("turns", "words"))
    return Dialogue(read_audio(path), turns, words)


def _row(said: Said) -> list[object]:
    start, end, *rest = astuple(said)
    return [round(start, 3), round(end, 3), *rest]


def main() -> None:
    """Write the dialogues of the tests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bank", type=Path, help="whose sentences are left out")
    parser.add_argument("--out", type=Path, default=Path("tests/data/dialogues"))
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    director = Director(known_sentences(a.bank))
    for number, (length_s, people) in enumerate(PLANS, 1):
        dialogue = director.dialogue(FIRST_SEED + number, length_s=length_s, people=people)
        write(a.out / f"{number:02}.opus", dialogue)


if __name__ == "__main__":
    main()
