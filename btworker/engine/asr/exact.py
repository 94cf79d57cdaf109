"""Exact decoding: openai-whisper's own loop over a recording. Each window begins where the text of the one before it
ended, and has that text as its prompt; the segments equal those of transcribe() with the same options.

A recording's windows come one after the other, and share batches with those of other recordings.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it

from btworker.engine.asr.decoding.alignment import Alignment
from btworker.engine.asr.decoding.requests import Decoded
from btworker.engine.asr.journal import Entry, LoopState
from btworker.engine.asr.language import Languages
from btworker.engine.asr.mel import LogMel
from btworker.engine.asr.revision import Revision, installed_revision
from btworker.engine.asr.segments import clear_empty, segment
from btworker.engine.asr.spectrograms import WindowSamples
from btworker.engine.asr.timeline import FRAMES_PER_SECOND, WINDOW_FRAMES, Cut, Window
from btworker.engine.asr.transcriber import Transcriber
from btworker.engine.asr.weights import Model
from btworker.engine.asr.window_plan import WindowPlan
from btworker.engine.quality.coverage import joined, unattended, uncovered
from btworker.jobs import Options
from btworker.transcript import Segment

HOT_TEMPERATURE = 0.5
"""Text sampled above this temperature is not shown to the next window."""


class ExactLoop:
    """The windows of one recording, one after the other."""

    def __init__(
        self,
        model: Model,
        mel: LogMel,
        options: Options,
        transcriber: Transcriber,
        plan: WindowPlan,
    ) -> None:
        """`plan` is of the whole recording: it knows where text is missing."""
        self._model = model
        self._mel = mel
        self._word_timestamps = options.word_timestamps
        self._transcriber = transcriber
        self._revision = installed_revision()
        self._plan = plan
        self._initial_state = LoopState(prompt=transcriber.prompt(options.prompt))

    async def run(self, done: list[Entry], *, languages: Languages, finish: Callable[[Entry], Awaitable[None]]) -> None:
        """Decode the windows after those that are done, and `finish` each."""
        state = done[-1].state if done else self._initial_state
        index = len(done)
        while state.seek < self._mel.content_frames:
            start_s = state.seek / FRAMES_PER_SECOND
            segments, state, alignment = await self._window(state, languages)
            end_s = min(state.seek, self._mel.content_frames) / FRAMES_PER_SECOND
            spoken = self._plan.speech_between(start_s, end_s)
            skipped = unattended(spoken, alignment.attention, start_s) if alignment is not None else ()
            missing = joined(uncovered(spoken, segments), skipped)
            await finish(
                Entry(index, self._transcriber.language, self._mel.peak, start_s, end_s, segments, state, missing)
            )
            index += 1

    async def _window(
        self, state: LoopState, languages: Languages
    ) -> tuple[tuple[Segment, ...], LoopState, Alignment | None]:
        """Decode the window at the state's seek: its segments, the state after it, and where its words are."""
        window = Window(state.seek, min(WINDOW_FRAMES, self._mel.content_frames - state.seek))
        # its spectrogram is the one in which the language was detected, but where a release pads it otherwise
        same = self._revision.pads_with_silence or window.size == WINDOW_FRAMES
        features = languages.encoded.pop(window.seek, None) if same else None
        sound = self._input(window) if features is None else features
        decoded = await self._transcriber.submit(sound, window, is_encoded=features is not None, prompt=state.prompt)
        if self._transcriber.is_silence(decoded):
            end = window.seek + window.size
            return (), LoopState(end, state.prompt, state.last_speech_s, state.segment_count), None
        pieces = self._transcriber.pieces(decoded, window)
        raw = self._transcriber.timed_segments(pieces, window, decoded)
        self._transcriber.add_logprobs(raw, decoded)
        seek, last_speech_s = pieces.next_seek, state.last_speech_s
        if self._word_timestamps:
            self._transcriber.add_words(raw, self._transcriber.words(decoded), last_speech_s=last_speech_s)
            seek, last_speech_s = _after_words(raw, pieces, window, last_speech_s, self._revision)
        if seek <= window.seek:
            seek = window.seek + window.size  # whisper's rules never stand still; a broken model must not, either
        clear_empty(raw)
        segments = tuple(segment(shape, state.segment_count + n) for n, shape in enumerate(raw))
        prompt = self._next_prompt(state, segments, decoded)
        after = LoopState(seek, prompt, last_speech_s, state.segment_count + len(segments))
        return segments, after, decoded.alignment

    def _input(self, window: Window) -> torch.Tensor | WindowSamples:
        """Compute the window's spectrogram, 30 s of it."""
        if self._revision.pads_with_silence:
            return self._mel.window(window.seek, WINDOW_FRAMES, size=WINDOW_FRAMES)
        return F.pad(self._mel.frames(window.seek, window.size), (0, WINDOW_FRAMES - window.size))

    def _next_prompt(self, state: LoopState, segments: tuple[Segment, ...], decoded: Decoded) -> tuple[int, ...]:
        if decoded.temperature > HOT_TEMPERATURE:
            return ()
        text = [token for one in segments for token in one.tokens]
        return (*state.prompt, *text)[-self._transcriber.longest_prompt :]


def _after_words(
    segments: list[dict[str, Any]], pieces: Cut, window: Window, last_speech_s: float, revision: Revision
) -> tuple[int, float]:
    """Find where the next window begins, and when speech ended, now that the words have their times."""
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
