"""One recording, from its first window to its last, as a generator that can be stopped, in one of two modes.

exact.py is openai-whisper's own loop, with the segments of its transcribe(); fast.py decodes independent windows side
by side. Both say how far they are, stop between two steps, go on where an earlier attempt died, and read a recording of
any length in the same memory. Runs in the child; engine/attempt.py drives it.
"""

import hashlib
import json
from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from btworker.engine.asr.decoding.ticket import Heartbeat
from btworker.engine.asr.exact import ExactLoop
from btworker.engine.asr.fast import FastLoop
from btworker.engine.asr.journal import Journal
from btworker.engine.asr.language import find_language
from btworker.engine.asr.mel import LogMel, find_peak
from btworker.engine.asr.revision import installed_revision
from btworker.engine.asr.timeline import FRAMES_PER_SECOND, WINDOW_FRAMES, Window
from btworker.engine.asr.transcriber import Rules, Transcriber
from btworker.engine.asr.weights import Model
from btworker.engine.telling import relay
from btworker.engine.vad.spans import Span
from btworker.jobs import Options
from btworker.transcript import Segment

REVISION = 1
"""Of our own decoding: windows of an earlier one are not gone on with."""
FRAME_SAMPLES = 160
"""Samples from one frame to the next: 10 ms."""


@dataclass(frozen=True, slots=True)
class Step:
    """How far a recognition is. `index` counts windows from 0; None before the first of this attempt."""

    index: int | None
    seconds_done: float
    seconds_total: float


@dataclass(frozen=True, slots=True)
class Recognition:
    """All that was said."""

    text: str
    language: str
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Recording:
    """What is to be recognized: 16 kHz mono samples and the SHA-256 of the file that they came from."""

    samples: npt.NDArray[np.int16]
    sha256: str


def run_name(model: Model, recording: Recording, options: Options) -> str:
    """A name for everything that the text depends on; the windows of another run are never gone on with."""
    from importlib.metadata import version

    facts = [
        model.sha256, recording.sha256, len(recording.samples), version("openai-whisper"), str(model.dtype),
        REVISION, options.decode, options.language, options.task, options.prompt, options.temperature,
        options.beam_size, options.word_timestamps, options.no_speech_threshold,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def recognize(
    model: Model, recording: Recording, options: Options, *, journal: Journal, check: Callable[[], None]
) -> Generator[Step, None, Recognition]:
    """Go through the recording window by window; yields a Step before the first and after each, returns the result.

    `check` is called before each step of the decoder, and may raise to stop.
    """
    done = journal.resume()
    n_mels = model.network.dims.n_mels
    peak = done[-1].peak if done else find_peak(recording.samples, n_mels=n_mels, check=check)
    mel = LogMel(recording.samples, n_mels=n_mels, peak=peak)
    total_s = mel.content_frames / FRAMES_PER_SECOND
    yield Step(None, done[-1].end if done else 0.0, total_s)
    windows = _windows(model, recording, options, check)
    began = Step(None, 0.0, total_s)
    found = find_language(model, mel, done[-1].language if done else options.language, windows, check)
    language = yield from relay(found, lambda _: began)
    revision = installed_revision()
    transcriber = Transcriber(
        model.decoder, Rules.of(options), language=language, revision=revision, seed=recording.sha256
    )
    loop: ExactLoop | FastLoop
    if options.decode == "fast":
        loop = FastLoop(model, mel, options, transcriber, windows)
    else:
        loop = ExactLoop(model, mel, options, transcriber, revision)
    entries = list(done)
    for entry in loop.run(done, language=language, peak=peak, check=check):
        if isinstance(entry, Heartbeat):
            yield Step(None, entries[-1].end if entries else 0.0, total_s)
            continue
        journal.append(entry)
        entries.append(entry)
        yield Step(entry.index, entry.end, total_s)
    segments = tuple(segment for entry in entries for segment in entry.segments)
    # decoded in one piece: a sign may begin in one segment and end in the next
    text = str(transcriber.tokenizer.decode([token for segment in segments for token in segment.tokens]))
    return Recognition(text, language, segments)


def _windows(model: Model, recording: Recording, options: Options, check: Callable[[], None]) -> tuple[Window, ...]:
    """Fast mode's windows: where somebody speaks, in stretches of up to 30 s."""
    if options.decode != "fast":
        return ()
    speech = model.detector.speech(recording.samples, check=check)
    return tuple(_frames(span) for span in speech.windows())


def _frames(span: Span) -> Window:
    """A stretch of samples as one of frames; a frame that begins in it belongs to it."""
    first = span.start // FRAME_SAMPLES
    return Window(first, min(-(-span.end // FRAME_SAMPLES) - first, WINDOW_FRAMES))
