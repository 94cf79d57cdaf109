"""Measures a pipeline on held-out dialogues: diarization error rate (pyannote.metrics), the number of speakers, and
the speakers of words."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pyannote.core import Annotation, Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate

from btworker.engine.cooperate.result import result_of
from btworker.engine.diarization.diarizer import Diarization, Diarizer
from btworker.engine.diarization.speakers import with_speakers
from btworker.jobs import Options
from btworker.specs import EngineSettings
from btworker.transcript import Turn
from demo_model.audio import SAMPLE_RATE

from .heldout import Dialogue, Director, known_sentences, plans
from .words import Listener, speaker_accuracy

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


def pcm(samples: np.ndarray) -> np.ndarray:
    """Float samples as the worker's 16-bit ones."""
    return np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16)


def diarize(diarizer: Diarizer, samples: np.ndarray, options: Options = OPTIONS) -> Diarization:
    """All the way, without progress. `samples` are floats, or int16 as the worker has them."""
    samples = samples if samples.dtype == np.int16 else pcm(samples)
    return result_of(diarizer.diarize(samples, options, emit=lambda _: None))


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


def _say(case: Case, words: tuple[int, int] | None) -> None:
    rate, _ = error_rate([case])
    length_s = len(case.dialogue.samples) / SAMPLE_RATE
    people = f"{len(case.dialogue.people)} people, {case.found.speaker_count} found"
    spoken = f"  {words[0]} of {words[1]} recognised words with their speaker" if words else ""
    print(f"  {length_s:4.0f} s  {people}  DER {rate:.1%}{spoken}", flush=True)


def report(cases: list[Case], words: list[tuple[int, int]], threshold: float) -> None:
    """The RESULT line: over all dialogues."""
    rate, parts = error_rate(cases)
    narrow, _ = error_rate(cases, COLLAR_S / 2)
    result = {
        "threshold": f"{threshold}",
        "der": f"{rate:.4f}",
        "der_half_collar": f"{narrow:.4f}",
        **{name.replace(" ", "_"): f"{share:.4f}" for name, share in parts.items()},
        "speakers_right": f"{sum(case.counted_right for case in cases)}/{len(cases)}",
    }
    if words:
        right, recognised = (sum(column) for column in zip(*words, strict=True))
        spoken = sum(len(case.dialogue.words) for case in cases)
        result |= {"words_right": f"{right / recognised:.4f}", "recognised": f"{recognised / spoken:.4f}"}
    print("RESULT " + " ".join(f"{name}={value}" for name, value in result.items()), flush=True)


def main() -> None:
    """Print one line a dialogue, and the whole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bank", type=Path, help="whose sentences are left out")
    parser.add_argument("--count", type=int, default=12)
    parser.add_argument("--first-seed", type=int, default=950_001)
    parser.add_argument("--threshold", type=float, action="append", default=[], help="try others than the config's")
    parser.add_argument("--whisper", type=Path, help="transcribe too, and count the words with the right speaker")
    a = parser.parse_args()
    torch.set_num_threads(1)
    director, diarizer = Director(known_sentences(a.bank)), diarizer_of(a.folder)
    dialogues = [director.dialogue(seed, length_s=s, people=n) for seed, s, n in plans(a.count, a.first_seed)]
    listener = Listener(a.whisper) if a.whisper else None
    spoken = [listener.segments(pcm(dialogue.samples)) for dialogue in dialogues] if listener else []
    for threshold in a.threshold or [diarizer.pipeline.clustering.threshold]:
        diarizer.pipeline.clustering.threshold = threshold
        cases, words = [], []
        for number, dialogue in enumerate(dialogues):
            cases.append(Case(dialogue, diarize(diarizer, dialogue.samples)))
            if spoken:
                named = with_speakers(spoken[number], cases[-1].found.exclusive)
                words.append(speaker_accuracy(dialogue.words, named))
            _say(cases[-1], words[-1] if words else None)
        report(cases, words, threshold)


if __name__ == "__main__":
    main()
