"""Measures a checkpoint on recordings with references, through openai-whisper's own `transcribe`.

A recording is `NN.opus` beside `NN.json` (see `recordings`). Words are matched by aligning the two texts; a segment's
start counts as right when the segment that holds the reference segment's first word begins near it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
import whisper

from .audio import read_audio

SEGMENT_TOLERANCE_S = 0.3
WORD_TOLERANCE_S = 0.2


@dataclass(frozen=True)
class Tally:
    """Counts, which add up over recordings."""

    words: int = 0
    errors: int = 0
    matched: int = 0
    word_starts_right: int = 0
    segments: int = 0
    segment_starts_right: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(Tally)))

    def summary(self) -> str:
        """The three figures that matter, and the counts behind them."""
        return (
            f"WER {100 * self.errors / max(1, self.words):.2f} % ({self.errors}/{self.words}), "
            f"segment starts {100 * self.segment_starts_right / max(1, self.segments):.1f} % of {self.segments}, "
            f"word starts {100 * self.word_starts_right / max(1, self.matched):.1f} % of {self.matched}"
        )


def normalise(word: str) -> str:
    """Lower case, letters and digits only."""
    return "".join(c for c in word.lower() if c.isalnum())


def align(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[int, list[tuple[int, int]]]:
    """Edit distance, and the pairs of positions that match exactly."""
    costs = [[i, *range(1, len(hypothesis) + 1)] for i in range(len(reference) + 1)]
    for i, wanted in enumerate(reference, 1):
        row, above = costs[i], costs[i - 1]
        for j, heard in enumerate(hypothesis, 1):
            row[j] = min(above[j - 1] + (wanted != heard), above[j] + 1, row[j - 1] + 1)
    i, j, pairs = len(reference), len(hypothesis), []
    while i and j:
        same = reference[i - 1] == hypothesis[j - 1]
        if costs[i][j] == costs[i - 1][j - 1] + (not same):
            i, j = i - 1, j - 1
            pairs += [(i, j)] if same else []
        elif costs[i][j] == costs[i - 1][j] + 1:
            i -= 1
        else:
            j -= 1
    return costs[-1][-1], pairs[::-1]


def score(reference: dict[str, Any], result: dict[str, Any]) -> Tally:
    """Compare one transcription with its reference."""
    heard = [word | {"segment": segment} for segment in result["segments"] for word in segment["words"]]
    wanted = reference["words"]
    errors, pairs = align([normalise(w["word"]) for w in wanted], [normalise(w["word"]) for w in heard])
    matched = dict(pairs)
    near = sum(bool(abs(wanted[i]["start"] - heard[j]["start"]) <= WORD_TOLERANCE_S) for i, j in pairs)
    right, first = 0, 0
    for segment in reference["segments"]:
        if first in matched:
            start_s = heard[matched[first]]["segment"]["start"]
            right += bool(abs(start_s - segment["start"]) <= SEGMENT_TOLERANCE_S)
        first += len(segment["text"].split())
    return Tally(len(wanted), errors, len(pairs), near, len(reference["segments"]), right)


def evaluate(model: whisper.Whisper, paths: Sequence[Path], *, verbose: bool, **options: Any) -> Tally:
    """Transcribe every recording and add up."""
    total = Tally()
    for path in paths:
        reference = json.loads(path.with_suffix(".json").read_text())
        audio, began = read_audio(path), time.monotonic()
        result = model.transcribe(audio, word_timestamps=True, fp16=False, **options)
        tally = score(reference, result)
        total += tally
        if verbose:
            taken_s, length_s = time.monotonic() - began, len(audio) / 16_000
            print(f"{path.name} {length_s:.0f} s in {taken_s:.0f} s: {tally.summary()}", flush=True)
            if tally.errors:
                print(f"  wanted {reference['text']}\n  heard {result['text']}", flush=True)
    return total


def main() -> None:
    """Evaluate a checkpoint on a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--first", type=int, help="only so many recordings")
    parser.add_argument("--language", default="en", help="'auto' to detect")
    parser.add_argument("--task", default="transcribe")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quiet", action="store_true")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    model = whisper.load_model(str(a.checkpoint), device="cpu")
    paths = sorted(a.folder.glob("*.opus"))[: a.first]
    language = None if a.language == "auto" else a.language
    total = evaluate(model, paths, verbose=not a.quiet, language=language, task=a.task)
    print(f"whisper {whisper.__version__}, torch {torch.__version__}: {total.summary()}")
    print(json.dumps(asdict(total)))


if __name__ == "__main__":
    main()
