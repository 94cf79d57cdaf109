"""openai-whisper's own transcribe() as the judge of our loop, and how two results are compared."""

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from btworker.engine.asr.journal import Journal
from btworker.engine.asr.recognition import Recognition, Recording, recognize, run_name
from btworker.engine.asr.weights import Model
from btworker.jobs import Options

FLOATS = ("start", "end", "temperature", "avg_logprob", "compression_ratio", "no_speech_prob")
INPUT_SHA256 = "the recording"


def ours(model: Model, samples: npt.NDArray[np.int16], options: Options, journal: Path) -> Recognition:
    """Our result."""
    recording = Recording(samples, INPUT_SHA256)
    steps = recognize(
        model, recording, options, journal=Journal(journal, run=run_name(model, recording, options)), check=lambda: None
    )
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: Recognition = end.value
            return result


def theirs(model: Model, samples: npt.NDArray[np.int16], options: Options) -> dict[str, Any]:
    """whisper's result for the same options, sampling with our seeds."""
    more: dict[str, Any] = {} if options.temperature is None else {"temperature": options.temperature}
    with _seeded(model):
        result: dict[str, Any] = model.network.transcribe(
            samples.astype(np.float32) / 32768.0,
            fp16=False,
            language=options.language or None,
            task=options.task,
            initial_prompt=options.prompt or None,
            beam_size=options.beam_size,
            word_timestamps=options.word_timestamps,
            no_speech_threshold=options.no_speech_threshold,
            **more,
        )
    return result


@contextmanager
def _seeded(model: Model) -> Iterator[None]:
    """transcribe() seeds nothing, so its calls of decode are caught; `seek` is read from its frame."""
    decode = type(model.network).decode

    def seeded(mel: torch.Tensor, options: Any) -> Any:
        if options.temperature > 0:
            seek = sys._getframe(2).f_locals["seek"]
            digest = hashlib.sha256(f"{INPUT_SHA256}:{seek}:{options.temperature}".encode()).digest()
            torch.manual_seed(int.from_bytes(digest[:8], "big") >> 1)
        return decode(model.network, mel, options)

    model.network.decode = seeded
    try:
        yield
    finally:
        del model.network.decode


def assert_equal(mine: Recognition, oracle: dict[str, Any]) -> None:
    """Segment by segment and word by word; floats to 1e-5."""
    assert mine.language == oracle["language"]
    assert mine.text == oracle["text"]
    assert len(mine.segments) == len(oracle["segments"])
    for segment, wanted in zip(mine.segments, oracle["segments"], strict=True):
        for name in ("id", "seek", "text"):
            assert getattr(segment, name) == wanted[name]
        assert list(segment.tokens) == wanted["tokens"]
        for name in FLOATS:
            assert abs(getattr(segment, name) - wanted[name]) <= 1e-5, name
        assert [word.word for word in segment.words] == [word["word"] for word in wanted.get("words", ())]
        for word, wanted_word in zip(segment.words, wanted.get("words", ()), strict=True):
            for name in ("start", "end", "probability"):
                assert abs(getattr(word, name) - wanted_word[name]) <= 1e-5, name
