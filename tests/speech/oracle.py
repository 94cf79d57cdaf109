"""openai-whisper's own transcribe() as the judge of our loop, and how two results are compared."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import torch
import whisper

from btworker.engine.asr.decoding.requests import chances
from btworker.engine.asr.journal import Journal
from btworker.engine.asr.recognition import Recognition, recognize_alone, run_name
from btworker.engine.asr.weights import Model
from btworker.engine.cooperate.result import result_of
from btworker.engine.sound.recording import Recording, Whole
from btworker.jobs import Options

FLOATS = ("start", "end", "temperature", "avg_logprob", "compression_ratio", "no_speech_prob")
INPUT_SHA256 = "the recording"


def ours(model: Model, samples: npt.NDArray[np.int16], options: Options, journal: Path) -> Recognition:
    """Our result."""
    recording = Recording(Whole(samples), INPUT_SHA256)
    steps = recognize_alone(
        model,
        recording,
        options,
        journal=Journal(journal, run=run_name(model, recording.sha256, options)),
    )
    return result_of(steps)


def whisper_model(checkpoint: Path) -> Any:
    """openai-whisper's own model, loaded by openai-whisper."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # on torch.load without weights_only
        return whisper.load_model(str(checkpoint), device="cpu")


def theirs(model: Any, samples: npt.NDArray[np.int16], options: Options) -> dict[str, Any]:
    """whisper's result for the same options, sampling by our numbers."""
    more: dict[str, Any] = {} if options.temperature is None else {"temperature": options.temperature}
    with drawing_by_our_numbers():
        result: dict[str, Any] = model.transcribe(
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
def drawing_by_our_numbers() -> Iterator[None]:
    """transcribe() seeds nothing. In place of torch's sampler, one that goes through the same distribution with the
    numbers that we draw by: the window and the token are read from its callers' frames."""

    class OurNumbers:
        def __init__(self, logits: torch.Tensor) -> None:
            self.probabilities = logits.softmax(-1)

        def sample(self) -> torch.Tensor:
            update, loop, transcribe = (_locals_of(name) for name in ("update", "_main_loop", "transcribe"))
            task = loop["self"]
            seed = f"{INPUT_SHA256}:{transcribe['seek']}"
            numbers = chances(seed, update["self"].temperature, task.sample_len)
            said = update["tokens"].shape[1] - task.sample_begin
            spread = self.probabilities.cumsum(-1)
            return torch.searchsorted(spread, numbers[said] * spread[:, -1:], right=True)[:, 0]

    with mock.patch("whisper.decoding.Categorical", OurNumbers):
        yield


def _locals_of(function: str) -> dict[str, Any]:
    """Of the nearest caller with this name."""
    frame = sys._getframe(1)
    while frame.f_code.co_name != function:
        assert frame.f_back is not None, f"{function} is not among the callers"
        frame = frame.f_back
    return frame.f_locals


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
