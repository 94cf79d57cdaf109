"""Who speaks when, by weights that know people's voices: errors against references, ours beside pyannote's own class.

References are RTTM files, of recordings of the manifest: `--rttm NAME=FILE …`, or `"rttm": FILE` there.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pyannote.core import Segment, Timeline
from pyannote.metrics.diarization import DiarizationErrorRate

from bench.real.recordings import Recording
from btworker.engine.diarization.diarizer import Diarizer
from btworker.engine.diarization.loading import load_pipeline
from btworker.ffmpeg import SAMPLE_RATE
from btworker.specs import EngineSettings
from btworker.transcript import Turn
from demo_diarization.measure import annotation, diarize

Turns = tuple[Turn, ...]
TOLERANCE_S = 1e-3


@dataclass(frozen=True)
class SpeakerErrors:
    """One recording: seconds of speech that are wrong, by what is wrong with them, and what was found."""

    name: str
    speech_s: float
    confused_s: float
    missed_s: float
    false_s: float
    wanted: int
    """Number of people."""
    found: int
    same_as_stock: bool
    ours_cpu_s: float
    stock_cpu_s: float

    @property
    def rate(self) -> float:
        """The diarization error rate, without a collar."""
        return (self.confused_s + self.missed_s + self.false_s) / self.speech_s

    def __str__(self) -> str:
        return (
            f"{self.name}: DER {self.rate:.1%} (of {self.speech_s:.1f} s {self.confused_s:.1f} confused, "
            f"{self.missed_s:.1f} missed, {self.false_s:.1f} false), {self.found} speakers of {self.wanted}, "
            f"{'the same turns as' if self.same_as_stock else 'NOT the turns of'} stock pyannote, "
            f"CPU {self.ours_cpu_s:.1f} s, stock {self.stock_cpu_s:.1f} s"
        )


def settings_of(folder: Path, **changes: Any) -> EngineSettings:
    """Those of a pipeline's folder."""
    nowhere = Path("unused")
    settings = EngineSettings("base", (), nowhere, nowhere, offline=True, diarization_pipeline=folder)
    return replace(settings, **changes)


def read_rttm(path: Path) -> Turns:
    """The turns of a file with one recording. Raises OSError, ValueError."""
    rows = (line.split() for line in path.read_text().splitlines() if line.startswith("SPEAKER"))
    return tuple(Turn(float(row[3]), float(row[3]) + float(row[4]), row[7]) for row in rows)


def measure(folder: Path, recordings: Sequence[Recording], references: Mapping[str, Turns]) -> list[SpeakerErrors]:
    """Ours and stock on each recording that has a reference."""
    settings = settings_of(folder)
    diarizer, stock = Diarizer(settings, on_gpu=False), stock_pipeline(settings)
    return [
        _measured(one, references[one.name], lambda samples: diarize(diarizer, samples).turns, stock)
        for one in recordings
        if one.name in references
    ]


def _measured(
    one: Recording, reference: Turns, ours: Callable[[Any], Turns], stock: Callable[[Any], Turns]
) -> SpeakerErrors:
    found, ours_s = _timed(ours, one.samples)
    theirs, stock_s = _timed(stock, one.samples)
    parts = errors(reference, found, one.seconds)
    people = [len({turn.speaker for turn in turns}) for turns in (reference, found)]
    return SpeakerErrors(one.name, *parts, *people, same_turns(found, theirs), ours_s, stock_s)


def _timed(run: Callable[[Any], Turns], samples: NDArray[np.int16]) -> tuple[Turns, float]:
    began = time.process_time()
    found = run(samples)
    return found, time.process_time() - began


def errors(reference: Turns, found: Turns, seconds: float) -> tuple[float, float, float, float]:
    """Seconds of speech, and of it confused, missed, and false; no collar, and overlaps count."""
    whole = Timeline([Segment(0, seconds)])
    parts = DiarizationErrorRate()(annotation(reference), annotation(found), uem=whole, detailed=True)
    speech_s, confused_s, missed_s, false_s = (
        float(parts[name]) for name in ("total", "confusion", "missed detection", "false alarm")
    )
    return speech_s, confused_s, missed_s, false_s


def stock_pipeline(settings: EngineSettings) -> Callable[[NDArray[np.int16]], Turns]:
    """pyannote's own class from the same folder, which nothing of ours has touched."""
    pipeline: Any = load_pipeline(settings, torch.device("cpu"))

    def run(samples: NDArray[np.int16]) -> Turns:
        waveform = torch.from_numpy(samples.astype(np.float32) / np.float32(32768))[None]
        output = pipeline({"waveform": waveform, "sample_rate": SAMPLE_RATE, "uri": "recording"})
        tracks = getattr(output, "speaker_diarization", output).itertracks(yield_label=True)
        return tuple(Turn(segment.start, segment.end, str(label)) for segment, _, label in tracks)

    return run


def same_turns(ours: Turns, theirs: Turns) -> bool:
    """The same spans, and the same people under whatever names."""
    if len(ours) != len(theirs):
        return False
    names = {(one.speaker, other.speaker) for one, other in zip(ours, theirs, strict=True)}
    one_to_one = len(names) == len({one for one, _ in names}) == len({other for _, other in names})
    spans = ([(turn.start, turn.end) for turn in turns] for turns in (ours, theirs))
    return one_to_one and bool(np.allclose(*spans, rtol=0, atol=TOLERANCE_S))
