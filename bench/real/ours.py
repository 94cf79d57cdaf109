"""Our engine on whole recordings, in the process that asks."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray

from bench.real.recordings import Recording
from bench.real.transcripts import Heard, HeardSegment, HeardWord
from bench.real.weights import Checkpoint
from btworker.engine.asr.alignment_heads import AlignmentHeads
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.journal import Journal
from btworker.engine.asr.recognition import Recognition, recognize, run_name, transcriber_of
from btworker.engine.asr.second_look import SecondLook
from btworker.engine.asr.weights import Model, load_model
from btworker.engine.cooperate.result import result_of
from btworker.engine.cooperate.side_by_side import side_by_side
from btworker.engine.sound.recording import Recording as Sounding
from btworker.engine.sound.recording import Whole
from btworker.jobs import Options
from btworker.specs import EngineSettings
from btworker.transcript import Segment

Sound = tuple[NDArray[np.int16], str]
"""Samples and their hash."""


class Ours:
    """The engine with one model on the CPU; `setting` is that of WORKER_ALIGNMENT_HEADS, for this model, `bits` that of
    WORKER_SOUND_BITS, `rounded` with WORKER_CPU_PRECISION=half."""

    def __init__(self, checkpoint: Checkpoint, *, setting: str = "", bits: int = 16, rounded: bool = False) -> None:
        self._model = load(checkpoint, setting, bits=bits, rounded=rounded)

    @property
    def alignment_heads(self) -> AlignmentHeads:
        """What word times come from."""
        return self._model.alignment_heads

    def transcribe(self, recording: Recording, mode: str, beams: int, **more: Any) -> Heard:
        """One recording, its language found, with word times; `more` are further options."""
        beam_size = beams if beams > 1 else None
        options = Options(model=self._model.name, decode=mode, beam_size=beam_size, word_timestamps=True, **more)
        began = time.process_time()
        with counted() as counts:
            (found,) = self.recognize([(recording.samples, recording.sha256)], [options])
        return _heard(found, time.process_time() - began, counts)

    def recognize(self, some: Sequence[Sound], options: Sequence[Options]) -> list[Recognition]:
        """Recognize several sounds, each as its options say, their windows in the same batches."""
        with tempfile.TemporaryDirectory() as folder:

            def piece(number: int) -> Any:
                (samples, sha256), asked = some[number], options[number]
                journal = Journal(Path(folder) / f"{number}.jsonl", run=run_name(self._model, sha256, asked))
                sounding = Sounding(Whole(samples), sha256)
                return recognize(self._model, sounding, asked, journal=journal, emit=lambda _: None)

            pieces = [partial(piece, number) for number in range(len(some))]
            steps = side_by_side(pieces, driver=self._model.decoder, may_begin=lambda: True)
            return result_of(steps)

    def second_look(
        self, samples: NDArray[np.int16], doubtful: Sequence[Segment], options: Options, language: str
    ) -> list[float]:
        """Decode doubtful segments once more: see SecondLook.shares()."""
        transcriber_for = partial(transcriber_of, self._model, options, "")
        looks = partial(SecondLook(self._model, samples, transcriber_for).shares, doubtful, language)
        return result_of(side_by_side([looks], driver=self._model.decoder, may_begin=lambda: True))[0]


def load(checkpoint: Checkpoint, setting: str, *, bits: int = 16, rounded: bool = False) -> Model:
    """Load a model on the CPU; the rest is that of Ours."""
    nowhere = Path("unused")
    settings = EngineSettings(
        checkpoint.name,
        ((checkpoint.name, checkpoint.path),),
        nowhere,
        nowhere,
        offline=True,
        sound_bits=bits,
        cpu_half=rounded,
        alignment_heads=((checkpoint.name, setting),),
    )
    return load_model(checkpoint.name, settings, torch.device("cpu"))


@contextmanager
def counted() -> Iterator[dict[str, int]]:
    """Windows that are encoded and rows that make a step, inside."""
    counts = {"windows": 0, "steps": 0}
    encode, step = Network.encode, Network.step

    def encoding(network: Network, mel: torch.Tensor) -> torch.Tensor:
        counts["windows"] += len(mel)
        return encode(network, mel)

    def stepping(network: Network, tokens: torch.Tensor, *others: Any, **named: Any) -> torch.Tensor:
        counts["steps"] += len(tokens)
        return step(network, tokens, *others, **named)

    with mock.patch.object(Network, "encode", encoding), mock.patch.object(Network, "step", stepping):
        yield counts


def _heard(found: Recognition, cpu_s: float, counts: dict[str, int]) -> Heard:
    segments = tuple(
        HeardSegment(
            one.text,
            one.start,
            one.end,
            tuple(HeardWord(word.word, word.start, word.end) for word in one.words),
            one.hallucination is not None and one.hallucination.flagged,
            one.temperature,
        )
        for one in found.segments
    )
    return Heard(found.text, found.language, segments, cpu_s, found.missing_speech, **counts)
