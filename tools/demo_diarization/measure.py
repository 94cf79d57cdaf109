"""Measures a pipeline on held-out dialogues: diarization error rate (pyannote.metrics) and the number of speakers."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pyannote.core import Annotation, Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate

from btworker.engine.diarization.diarizer import Diarization, Diarizer
from btworker.jobs import Options
from btworker.messages import EngineSettings
from btworker.transcript import Turn
from demo_model.audio import SAMPLE_RATE

from .heldout import Dialogue, Director, known_sentences, plans

COLLAR_S = 0.5
"""As pyannote.metrics counts it: the whole width around a border, so 0.25 s on each side of it, as NIST does."""
OPTIONS = Options(model="demo", diarization_enabled=True)


@dataclass(frozen=True)
class Case:
    """A held-out dialogue and what came out."""

    dialogue: Dialogue
    found: Diarization

    @property
    def counted_right(self) -> bool:
        return self.found.speaker_count == len(self.dialogue.people)


def diarizer_of(folder: Path) -> Diarizer:
    """A pipeline's folder, on the CPU."""
    settings = EngineSettings("demo", (), Path("unused"), Path("unused"), offline=True, diarization_pipeline=folder)
    return Diarizer(settings, on_gpu=False)


def diarize(diarizer: Diarizer, samples: np.ndarray, options: Options = OPTIONS) -> Diarization:
    """All the way, without progress."""
    pcm = np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)
    steps = diarizer.diarize(pcm, options, check=lambda: None)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Diarization = end.value
            return found


def annotation(turns: tuple[Turn, ...] | list[Turn]) -> Annotation:
    """For pyannote.metrics."""
    result = Annotation(uri="dialogue")
    for number, turn in enumerate(turns):
        result[Segment(turn.start, turn.end), number] = turn.speaker
    return result


def reference(dialogue: Dialogue) -> Annotation:
    """Who really speaks when."""
    return annotation([Turn(turn.start, turn.end, turn.person) for turn in dialogue.turns])


def error_rate(cases: list[Case], collar_s: float = COLLAR_S) -> tuple[float, dict[str, float]]:
    """(rate over all, its parts: confusion, missed detection, false alarm)."""
    metric = DiarizationErrorRate(collar=collar_s)
    for case in cases:
        whole = Timeline([Segment(0, len(case.dialogue.samples) / SAMPLE_RATE)])
        metric(reference(case.dialogue), annotation(case.found.turns), uem=whole)
    total = metric["total"]
    return abs(metric), {part: metric[part] / total for part in ("confusion", "missed detection", "false alarm")}


def main() -> None:
    """Print one line a dialogue, and the whole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bank", type=Path, help="whose sentences are left out")
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--first-seed", type=int, default=950_001)
    parser.add_argument("--threshold", type=float, action="append", default=[], help="try others than the config's")
    a = parser.parse_args()
    torch.set_num_threads(1)
    director, diarizer = Director(known_sentences(a.bank)), diarizer_of(a.folder)
    dialogues = [director.dialogue(seed, length_s=s, people=n) for seed, s, n in plans(a.count, a.first_seed)]
    for threshold in a.threshold or [None]:
        if threshold is not None:
            diarizer.pipeline.clustering.threshold = threshold
        cases = [Case(dialogue, diarize(diarizer, dialogue.samples)) for dialogue in dialogues]
        for case in cases:
            rate, _ = error_rate([case])
            length_s = len(case.dialogue.samples) / SAMPLE_RATE
            people = f"{len(case.dialogue.people)} people, {case.found.speaker_count} found"
            print(f"  {length_s:4.0f} s  {people}  DER {rate:.1%}", flush=True)
        rate, parts = error_rate(cases)
        detail = ", ".join(f"{name} {share:.1%}" for name, share in parts.items())
        right = sum(case.counted_right for case in cases)
        narrow, _ = error_rate(cases, COLLAR_S / 2)
        print(
            f"RESULT threshold={diarizer.pipeline.clustering.threshold} der={rate:.4f} der_half_collar={narrow:.4f} "
            f"speakers_right={right}/{len(cases)} ({detail})",
            flush=True,
        )


if __name__ == "__main__":
    main()
