"""One recording, from its first window to its last: openai-whisper's transcribe() as a generator that can be stopped.

Its segments equal transcribe()'s with the same options (see window_decoder.py about sampling). What transcribe()
cannot do: say how far it is, stop between two windows, go on where an earlier attempt died, and read a recording of
any length in the same memory. Runs in the child; engine/attempt.py drives it.
"""

import hashlib
import json
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it

from btworker.engine.asr.journal import Entry, Journal
from btworker.engine.asr.loop_state import LoopState
from btworker.engine.asr.mel import LogMel, find_peak
from btworker.engine.asr.revision import Revision, installed_revision
from btworker.engine.asr.timeline import FRAMES_PER_SECOND, WINDOW_FRAMES, Cut, Window, cut
from btworker.engine.asr.weights import Model
from btworker.engine.asr.window_decoder import Rules, WindowDecoder
from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import Options
from btworker.transcript import Segment, Word

HOT_TEMPERATURE = 0.5
"""Text sampled above this temperature is not shown to the next window."""


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
        options.language, options.task, options.prompt, options.temperature, options.beam_size,
        options.word_timestamps, options.no_speech_threshold,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def recognize(
    model: Model, recording: Recording, options: Options, *, journal: Journal, check: Callable[[], None]
) -> Generator[Step, None, Recognition]:
    """Go through the recording window by window; yields a Step before the first and after each, returns the result.

    `check` is called before each window and each further try at one, and may raise to stop.
    """
    done = journal.resume()
    if done:
        language, peak = done[-1].language, done[-1].peak
        mel = LogMel(recording.samples, n_mels=model.network.dims.n_mels, peak=peak)
    else:
        peak = find_peak(recording.samples, n_mels=model.network.dims.n_mels, check=check)
        mel = LogMel(recording.samples, n_mels=model.network.dims.n_mels, peak=peak)
        language = _language(model, mel, options)
    loop = _Loop(model, mel, options, language=language, seed=recording.sha256)
    entries = list(done)
    total_s = mel.content_frames / FRAMES_PER_SECOND
    yield Step(None, done[-1].end if done else 0.0, total_s)
    for entry in loop.run(done[-1].state if done else loop.initial_state, first=len(done), peak=peak, check=check):
        journal.append(entry)
        entries.append(entry)
        yield Step(entry.index, entry.end, total_s)
    segments = tuple(segment for entry in entries for segment in entry.segments)
    return Recognition(loop.full_text(segments), language, segments)


def _language(model: Model, mel: LogMel, options: Options) -> str:
    """The language asked for, else the likeliest one in the first 30 s."""
    from whisper.tokenizer import LANGUAGES, TO_LANGUAGE_CODE

    network = model.network
    if not network.is_multilingual:
        return "en"
    if not options.language:
        first = mel.frames(0, WINDOW_FRAMES).to(model.device).to(model.dtype)
        _, chances = network.detect_language(first)
        return str(max(chances, key=chances.get))
    language = options.language.lower()
    language = str(TO_LANGUAGE_CODE.get(language, language))
    if language not in list(LANGUAGES)[: network.num_languages]:
        raise BtworkerError(
            ErrorCode.PROCESSING_ERROR,
            f"model {model.name!r} does not know the language {options.language!r}; leave it out to have it detected",
        )
    return language


class _Loop:
    """The windows of one recording, one after the other."""

    def __init__(self, model: Model, mel: LogMel, options: Options, *, language: str, seed: str) -> None:
        self._model = model
        self._mel = mel
        self._language = language
        self._word_timestamps = options.word_timestamps
        self._prompt_length = model.network.dims.n_text_ctx // 2 - 1
        self._revision: Revision = installed_revision()
        self._decoder = WindowDecoder(model, Rules.of(options), language=language, revision=self._revision, seed=seed)
        prompt = self._decoder.tokenizer.encode(" " + options.prompt.strip()) if options.prompt else []
        self.initial_state = LoopState(prompt=tuple(prompt)[-self._prompt_length :])

    def run(self, state: LoopState, *, first: int, peak: float, check: Callable[[], None]) -> Iterator[Entry]:
        """Finished windows from this state on."""
        index = first
        while state.seek < self._mel.content_frames:
            check()
            start = state.seek
            segments, state = self._window(state, check)
            end = min(state.seek, self._mel.content_frames)
            yield Entry(
                index, self._language, peak, start / FRAMES_PER_SECOND, end / FRAMES_PER_SECOND, segments, state
            )
            index += 1

    def full_text(self, segments: tuple[Segment, ...]) -> str:
        """All that was said, decoded in one piece: a sign may begin in one segment and end in the next."""
        return str(self._decoder.tokenizer.decode([token for segment in segments for token in segment.tokens]))

    def _window(self, state: LoopState, check: Callable[[], None]) -> tuple[tuple[Segment, ...], LoopState]:
        """Decode the window at the state's seek: its segments, and the state after it."""
        window = Window(state.seek, min(WINDOW_FRAMES, self._mel.content_frames - state.seek))
        mel = self._input(window)
        result = self._decoder.decode(mel, seek=window.seek, prompt=state.prompt, check=check)
        if self._decoder.is_silence(result):
            return (), LoopState(window.seek + window.size, state.prompt, state.last_speech_s, state.segment_count)
        pieces = cut(result.tokens, window, timestamp_begin=self._decoder.tokenizer.timestamp_begin)
        raw = self._decoder.segments(pieces, window, result)
        seek, last_speech_s = pieces.next_seek, state.last_speech_s
        if self._word_timestamps:
            self._decoder.add_words(raw, mel, window, last_speech_s=last_speech_s)
            seek, last_speech_s = _after_words(raw, pieces, window, last_speech_s, self._revision)
        if seek <= window.seek:
            seek = window.seek + window.size  # whisper's rules never stand still; a broken model must not, either
        _clear_empty(raw)
        segments = tuple(_segment(shape, state.segment_count + n) for n, shape in enumerate(raw))
        prompt = self._next_prompt(state, segments, result.temperature)
        return segments, LoopState(seek, prompt, last_speech_s, state.segment_count + len(segments))

    def _input(self, window: Window) -> torch.Tensor:
        """The window's spectrogram, 30 s of it, on the device."""
        if self._revision.pads_with_silence:
            mel = self._mel.frames(window.seek, WINDOW_FRAMES)
        else:
            mel = F.pad(self._mel.frames(window.seek, window.size), (0, WINDOW_FRAMES - window.size))
        return mel.to(self._model.device).to(self._model.dtype)

    def _next_prompt(self, state: LoopState, segments: tuple[Segment, ...], temperature: float) -> tuple[int, ...]:
        if temperature > HOT_TEMPERATURE:
            return ()
        text = [token for segment in segments for token in segment.tokens]
        return (*state.prompt, *text)[-self._prompt_length :]


def _after_words(
    segments: list[dict[str, Any]], pieces: Cut, window: Window, last_speech_s: float, revision: Revision
) -> tuple[int, float]:
    """Where the next window begins, and when speech ended, now that the words have their times."""
    word_end = next((word["end"] for s in reversed(segments) for word in reversed(s["words"])), None)
    if revision.seeks_to_last_end and word_end is None and segments:
        word_end = segments[-1]["end"]
    if word_end is None:
        return pieces.next_seek, last_speech_s
    seek = pieces.next_seek
    if not pieces.ends_in_silence and word_end > window.offset_s:
        # the same frame both ways but for rounding, and whose rounding it is decides about equal segments
        if revision.seeks_to_last_end:
            seek = round(word_end * FRAMES_PER_SECOND)
        else:
            shift = round((word_end - window.offset_s) * FRAMES_PER_SECOND)
            seek = window.seek + shift if shift > 0 else seek
    return seek, float(word_end)


def _clear_empty(segments: list[dict[str, Any]]) -> None:
    """A segment of no length or without text says nothing, and the next window must not hear it."""
    for segment in segments:
        if segment["start"] == segment["end"] or not segment["text"].strip():
            segment.update(text="", tokens=[], words=[])


def _segment(raw: dict[str, Any], number: int) -> Segment:
    """whisper's shape, with numpy's numbers made plain."""
    words = tuple(
        Word(word["word"], float(word["start"]), float(word["end"]), float(word["probability"]))
        for word in raw.get("words", ())
    )
    return Segment(
        id=number,
        seek=raw["seek"],
        start=float(raw["start"]),
        end=float(raw["end"]),
        text=raw["text"],
        tokens=tuple(raw["tokens"]),
        temperature=raw["temperature"],
        avg_logprob=raw["avg_logprob"],
        compression_ratio=raw["compression_ratio"],
        no_speech_prob=raw["no_speech_prob"],
        words=words,
    )
