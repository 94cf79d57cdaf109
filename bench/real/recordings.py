"""Recordings of people with what is said in them: a folder with a manifest.json. Runs before anything is timed.

    [{"name": "jfk", "file": "jfk.flac", "language": "en", "reference": "And so …", "reference_kind": "human"}, …]

`reference_kind` is "human" where people wrote the text, "no speech" where nobody speaks, else anything: then the text
is compared by eye. `language` is null where there is none. `rttm` may name a file with who speaks when.
"""

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.speed.recordings import decoded as worker_samples
from btworker.engine.vad.detector import SpeechDetector
from btworker.ffmpeg import SAMPLE_RATE

ROOT = Path(__file__).resolve().parents[2]
OWN = ROOT / "tests" / "data" / "real"


@dataclass(frozen=True, eq=False)
class Recording:
    """One of them."""

    name: str
    path: Path
    language: str
    """Empty where there is none."""
    reference: str
    kind: str
    sha256: str
    samples: NDArray[np.int16]
    """16 kHz mono, as the worker decodes it."""
    voiced: tuple[tuple[float, float], ...]
    """Where the worker's detector hears speech: (start, end) in seconds."""
    rttm: Path | None = None
    """Who speaks when, where people wrote it down."""

    @property
    def seconds(self) -> float:
        """Its length."""
        return len(self.samples) / SAMPLE_RATE

    def voiced_s(self, start: float, end: float) -> float:
        """Seconds of speech between two times."""
        return sum(max(0.0, min(end, to) - max(start, since)) for since, to in self.voiced)

    @property
    def is_measured(self) -> bool:
        """People wrote down what is said."""
        return self.kind == "human" and bool(self.reference)

    @property
    def has_no_speech(self) -> bool:
        """Every word of a transcript of it is invented."""
        return self.kind == "no speech"


def recordings(folder: Path) -> list[Recording]:
    """All of a folder's, decoded. Raises OSError or ValueError without a manifest, KeyError where one is odd."""
    detector = SpeechDetector(torch.device("cpu"))
    return [_recording(folder, entry, detector) for entry in json.loads((folder / "manifest.json").read_text())]


def _recording(folder: Path, entry: dict[str, Any], detector: SpeechDetector) -> Recording:
    path = folder / entry["file"]
    samples = decoded(path)
    return Recording(
        entry["name"],
        path,
        entry["language"] or "",
        entry["reference"] or "",
        entry["reference_kind"],
        hashlib.sha256(path.read_bytes()).hexdigest(),
        samples,
        tuple(span.seconds for span in detector.speech(samples).voiced),
        folder / entry["rttm"] if "rttm" in entry else None,
    )


def decoded(path: Path) -> NDArray[np.int16]:
    """The sound of a file, as the worker decodes it."""
    with tempfile.TemporaryDirectory() as folder:
        return np.array(worker_samples(path, Path(folder) / "sound.s16"))
