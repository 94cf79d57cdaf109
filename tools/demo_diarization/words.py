"""Whose words are whose: of the reference words that were recognised, the share that carries the right speaker."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from btworker.engine.asr.journal import Journal
from btworker.engine.asr.recognition import recognize_alone
from btworker.engine.asr.weights import load_model
from btworker.engine.cooperate.result import result_of
from btworker.engine.sound.recording import Recording, Whole
from btworker.jobs import Options
from btworker.specs import EngineSettings
from btworker.transcript import Segment, Word

from .heldout import Said

T = TypeVar("T")


class Listener:
    """A Whisper model on the CPU, through the worker's own loop."""

    def __init__(self, checkpoint: Path) -> None:
        settings = EngineSettings("demo", (("demo", checkpoint),), Path("unused"), Path("unused"), offline=True)
        self._model = load_model("demo", settings, torch.device("cpu"))

    def segments(self, samples: np.ndarray) -> tuple[Segment, ...]:
        """What was said in int16 samples at 16 kHz, with the times of words."""
        options = Options(model="demo", language="en", word_timestamps=True)
        with TemporaryDirectory() as folder:
            journal = Journal(Path(folder) / "windows", run="x")
            steps = recognize_alone(self._model, Recording(Whole(samples), "x"), options, journal=journal)
            return result_of(steps).segments


def speaker_accuracy(reference: Sequence[Said], segments: Iterable[Segment]) -> tuple[int, int]:
    """(words with the right speaker, words recognised); speakers are matched to people as fits best."""
    heard = [word for segment in segments for word in segment.words]
    pairs = _recognised(reference, heard)
    together = Counter((said.person, word.speaker or "") for said, word in pairs)
    people = sorted({person for person, _ in together})
    speakers = sorted({speaker for _, speaker in together})
    table = np.array([[together[person, speaker] for speaker in speakers] for person in people])
    right = int(table[linear_sum_assignment(table, maximize=True)].sum()) if pairs else 0
    return right, len(pairs)


def _recognised(reference: Sequence[Said], heard: Sequence[Word]) -> list[tuple[Said, Word]]:
    matcher = SequenceMatcher(None, [_plain(word.text) for word in reference], [_plain(w.word) for w in heard], False)
    return [
        (reference[block.a + offset], heard[block.b + offset])
        for block in matcher.get_matching_blocks()
        for offset in range(block.size)
    ]


def _plain(word: str) -> str:
    return re.sub(r"[^a-z]", "", word.lower())
