"""The embedded pipeline's settings and recordings, and what tests look at in a job."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from btworker.jobs import Options, OutputFormat
from btworker.messages import JobEvent, Warned
from btworker.specs import EngineSettings
from btworker.transcript import Segment, Transcript
from tests.speech.conftest import write_wav
from tools.demo_diarization.measure import pcm

DEMO = Path("btworker/demo")
EMBEDDED = DEMO / "diarization"
DIALOGUES = sorted(Path("tests/data/dialogues").glob("*.opus"))
OPTIONS = Options(model="demo", language="en", diarization_enabled=True, outputs=tuple(OutputFormat))
SAMPLE_TURNS = 5
"""Times that the speaker changes in the sample, and one."""
NO_SPEAKERS = "the transcript has no speakers: "


def settings(folder: Path, **changes: Any) -> EngineSettings:
    """The embedded model and pipeline."""
    values: dict[str, Any] = {
        "default_model": "demo",
        "models": (("demo", DEMO / "whisper-tiny-words.pt"),),
        "model_cache": folder / "cache",
        "scratch": folder / "scratch",
        "offline": True,
        "threads": 1,
        "diarization_pipeline": EMBEDDED,
    }
    return EngineSettings(**{**values, **changes})


def transcript_of(folder: Path, number: int = 0) -> Transcript:
    """A job's JSON output."""
    return Transcript.from_dict(json.loads((folder / "out" / f"talk-{number}_transcript.json").read_text()))


def warnings_of(events: list[JobEvent]) -> list[str]:
    """What the user is told."""
    return [event.message for event in events if isinstance(event, Warned)]


def speakers_of(segments: tuple[Segment, ...]) -> list[str | None]:
    """Changes of the speaker, in order."""
    found = [segment.speaker for segment in segments]
    return [one for number, one in enumerate(found) if number == 0 or one != found[number - 1]]


FIRST_WORDS = " ".join((DEMO / "sample.txt").read_text().splitlines()[:4])


def first_sentences(folder: Path) -> Path:
    """The first four sentences of the sample, which are one person's."""
    return write_wav(folder / "one.wav", decoded(DEMO / "sample.flac")[: int(13.6 * 16_000)])


def decoded(path: Path) -> npt.NDArray[np.int16]:
    from tools.demo_model.audio import read_audio

    return pcm(read_audio(path))


def with_statistics(network: torch.nn.Module) -> None:
    """Give the norms of random weights some, so that the network is no constant."""
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            part.running_mean.normal_(std=0.1)
            part.running_var.uniform_(0.5, 1.5)
