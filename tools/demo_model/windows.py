"""Turns a layout into one training example: the log-mel of the window, the tokens, and what supervises each of them.

The conventions are those of openai-whisper: a complete sentence is `<|start|> text <|end|>`; a sentence that the end
of the window cuts leaves only its `<|start|>`; the mel behind the end of a recording is 0.0 or that of silence, as
the two versions of `transcribe` have it; the mel's maximum, which normalises it, may lie elsewhere in the recording.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from torch import Tensor
from whisper.audio import HOP_LENGTH, N_FFT, mel_filters

from .audio import SAMPLE_RATE
from .corpus import WORDS
from .layout import Bank, Layout, Placed, full_layout, short_layout, silent_layout
from .vocabulary import TokenTable

FRAMES_PER_S = 50
FULL_WINDOW_S = 30.0
IGNORED = -100
_WORD_NUMBER = {word: number + 1 for number, word in enumerate(WORDS)}  # 0 is silence
_MAX_FIRST_TIMESTAMP_S = 1.0  # transcribe never lets a window's first timestamp be later
_PERIOD_S = 0.25
_HALF_TIMESTAMP_S = 0.06
_SILENT_SHARE = 0.05

# Frames that a decoder row shall look at: first, last (exclusive), and the end of a fading tail; (0, 0, 0) is "free".
Span = tuple[int, int, int]
_FREE: Span = (0, 0, 0)


@dataclass(frozen=True)
class Example:
    """One window. Row i of `targets` and `spans` belongs to the prediction made at token `first + i`."""

    mel: Tensor  # (80, 2 * frames)
    offset: int  # position of its first frame in the encoder's 1,500
    tokens: list[int]
    first: int  # index of <|startoftranscript|>
    targets: list[int]
    spans: list[Span]
    frames: Tensor  # (frames, 4) what the encoder should know of each frame, see _frame_targets


class Composer:
    """Draws examples from a bank; every random choice comes from one `Random`."""

    def __init__(self, bank: Bank, table: TokenTable, seed: int) -> None:
        self._bank, self._table = bank, table
        self._rng, self._noise = Random(seed), np.random.default_rng(seed)
        self._filters = mel_filters(torch.device("cpu"), 80)
        self._hann = torch.hann_window(N_FFT)

    def example(self, window_s: float, *, prompted: bool = False) -> Example:
        """A window of a recording, or a clip (of its begin, its end or anything between) when `window_s` is less."""
        rng = self._rng
        place = rng.choice(("begin", "end", "any")) if window_s < FULL_WINDOW_S else "whole"
        spare = round((FULL_WINDOW_S - window_s) * FRAMES_PER_S)
        offset = {"begin": 0, "end": spare, "any": rng.randint(0, spare), "whole": 0}[place]
        if rng.random() < _SILENT_SHARE:
            layout = silent_layout(rng, window_s)
        elif place in ("end", "whole"):
            layout = full_layout(self._bank, rng, window_s)
        else:
            layout = short_layout(self._bank, rng, window_s)
        script = _Script(self._table, layout, offset / FRAMES_PER_S)
        rows = script.rows(rng)
        prompt = self._prompt(timestamps=script.timestamps) if prompted else []
        first = len(prompt)
        return Example(
            mel=self._mel(layout),
            offset=offset,
            tokens=prompt + [row[0] for row in rows[:-1]],
            first=first,
            targets=[row[1] for row in rows[1:]],
            spans=[row[2] for row in rows[1:]],
            frames=_frame_targets(layout, offset),
        )

    def _prompt(self, *, timestamps: bool) -> list[int]:
        """What transcribe carries over: the tokens of earlier windows, at most 223 of them."""
        rng, table, tokens = self._rng, self._table, list[int]()
        count, clock = rng.randint(6, 223), rng.uniform(0, 1)
        timestamps = timestamps and rng.random() < 0.85
        while len(tokens) < count:
            utterance = self._bank.draw(rng, None)
            if clock + utterance.duration_s > FULL_WINDOW_S:
                clock = rng.uniform(0, 1)
            text = [table.word(word, first=i == 0) for i, word in enumerate(utterance.words)] + [table.period]
            if timestamps:
                text = [table.timestamp(clock), *text, table.timestamp(clock + utterance.duration_s)]
            tokens += text
            clock += utterance.duration_s + rng.uniform(0.2, 1.0)
        return [table.tokenizer.sot_prev, *tokens[-count:]]

    def _audio(self, layout: Layout) -> np.ndarray:
        rng = self._rng
        audio = np.zeros(round(layout.window_s * SAMPLE_RATE), np.float32)
        gain = 10 ** rng.uniform(-0.7, 0)
        for placed in (*layout.complete, *([layout.cut] if layout.cut else [])):
            first = round(placed.start_s * SAMPLE_RATE)
            samples = placed.utterance.samples[max(0, -first) :].astype(np.float32) / 32768
            first = max(0, first)
            samples = samples[: len(audio) - first]
            audio[first : first + len(samples)] += gain * rng.uniform(0.8, 1.0) * samples
        if rng.random() < 0.75:
            noise = self._noise.standard_normal(len(audio), dtype=np.float32)
            if rng.random() < 0.5:
                noise[1:] += 0.9 * noise[:-1]  # duller than white
            audio += noise * np.float32(10 ** rng.uniform(-5, -2.4) * max(gain, 0.3))
        audio[round(layout.content_s * SAMPLE_RATE) :] = 0
        return audio

    def _mel(self, layout: Layout) -> Tensor:
        """whisper's log_mel_spectrogram, with a maximum that may be greater than this window's own."""
        audio = torch.from_numpy(self._audio(layout))
        stft = torch.stft(audio, N_FFT, HOP_LENGTH, window=self._hann, return_complex=True)
        log_mel = (self._filters @ stft[..., :-1].abs() ** 2).clamp(min=1e-10).log10()
        maximum, rng = float(log_mel.max()), self._rng
        if not layout.complete and not layout.cut:
            maximum = maximum if rng.random() < 0.4 else max(maximum, rng.uniform(-0.5, 2.2))
        elif rng.random() < 0.5:
            maximum += rng.uniform(0, 0.8)
        log_mel = (log_mel.clamp(min=maximum - 8.0) + 4.0) / 4.0
        if rng.random() < 0.5:  # 20250625 pads so; 20231117 shows its window the silence behind the recording
            log_mel[:, round(layout.content_s * SAMPLE_RATE / HOP_LENGTH) :] = 0.0
        return log_mel


class _Script:
    """The token rows of a layout: (token, target at the row before, span that the row before looks at)."""

    def __init__(self, table: TokenTable, layout: Layout, offset_s: float) -> None:
        self.table, self.layout, self.offset_s = table, layout, offset_s
        self.timestamps = True
        self._rows: list[tuple[int, int, Span]] = []

    def rows(self, rng: Random) -> list[tuple[int, int, Span]]:
        t, layout = self.table.tokenizer, self.layout
        self.timestamps = rng.random() < 0.7
        silent = not layout.complete and layout.cut is None
        task = t.transcribe if rng.random() < 0.9 else t.translate
        self._add(t.sot, IGNORED)
        self._add(t.language_token, t.no_speech if silent else t.language_token)
        self._add(task, IGNORED)
        if self.timestamps:
            self._timestamped()
        else:
            self._add(t.no_timestamps, IGNORED)
            self._untimed(rng)
        return self._rows

    def _add(self, token: int, target: int | None = None, span: Span = _FREE) -> None:
        self._rows.append((token, token if target is None else target, span))

    def _time(self, seconds: float) -> None:
        first = self.offset_s == 0 and len(self._rows) == 3
        shown_s = min(seconds, _MAX_FIRST_TIMESTAMP_S) if first else seconds
        span = _span(seconds - _HALF_TIMESTAMP_S, seconds + _HALF_TIMESTAMP_S, 0, self.layout.window_s)
        self._add(self.table.timestamp(shown_s + self.offset_s), span=span)

    def _timestamped(self) -> None:
        layout = self.layout
        spoken = [placed for placed in layout.complete if _heard(placed)]
        for number, placed in enumerate(spoken):
            self._time(max(0.0, placed.start_s))
            following = spoken[number + 1 :] or ([layout.cut] if layout.cut else [])
            self._sentence(placed, following[0].start_s if following else layout.content_s)
            self._time(placed.end_s)
        if layout.cut:
            self._time(layout.cut.start_s)
        if len(self._rows) == 3:
            self._time(0.0)
        self._add(self.table.tokenizer.eot, span=self._tail(spoken))

    def _untimed(self, rng: Random) -> None:
        layout, t = self.layout, self.table.tokenizer
        spoken = [placed for placed in layout.complete if _heard(placed)]
        for number, placed in enumerate(spoken):
            following = spoken[number + 1 :] or ([layout.cut] if layout.cut else [])
            self._sentence(placed, following[0].start_s if following else layout.content_s)
        if layout.cut and rng.random() < 0.4:  # what remains of a cut sentence is text when there are no timestamps
            self._words(layout.cut)
            self._add(t.eot)
        elif layout.cut:  # find_alignment gives only the complete sentences: nothing to learn but where to look
            self._add(t.eot, IGNORED, self._tail(spoken))
        else:
            self._add(t.eot, span=self._tail(spoken))

    def _tail(self, spoken: list[Placed]) -> Span:
        """What follows the last complete sentence."""
        if not spoken or spoken[-1].end_s + _PERIOD_S + 0.04 > self.layout.content_s:
            return _FREE
        return _span(spoken[-1].end_s + _PERIOD_S, self.layout.content_s, 0, self.layout.window_s)

    def _sentence(self, placed: Placed, next_s: float) -> None:
        self._words(placed)
        end_s = min(placed.end_s + _PERIOD_S, max(next_s, placed.end_s + 0.04))
        self._add(self.table.period, span=_span(placed.end_s, end_s, max(next_s, end_s), self.layout.window_s))

    def _words(self, placed: Placed) -> None:
        window_s = self.layout.window_s
        for number, (word, start_s, end_s) in enumerate(placed.word_spans()):
            if start_s >= -0.05 and (end_s <= window_s + 0.03):
                span = _span(start_s, end_s, 0, window_s)
                self._add(self.table.word(word, first=number == 0), span=span)


def _heard(placed: Placed) -> bool:
    """Whether a whole word of the sentence lies in the window."""
    return any(start_s >= -0.05 for _, start_s, _ in placed.word_spans())


def _span(start_s: float, end_s: float, tail_s: float, window_s: float) -> Span:
    limit = round(window_s * FRAMES_PER_S)
    start = min(max(0, round(start_s * FRAMES_PER_S)), limit - 1)
    end = min(max(start + 1, round(end_s * FRAMES_PER_S)), limit)
    return start, end, min(max(end, round(tail_s * FRAMES_PER_S)), limit)


def _frame_targets(layout: Layout, offset: int) -> Tensor:
    """(frames, 4): the word, the word before it, its number in the sentence, and the sentence's first position."""
    frames = torch.zeros(round(layout.window_s * FRAMES_PER_S), 4, dtype=torch.long)
    frames[:, 3] = IGNORED
    last = 0
    for placed in (*layout.complete, *([layout.cut] if layout.cut else [])):
        frames[max(0, round(placed.start_s * FRAMES_PER_S)) :, 3] = offset + max(
            0, round(placed.start_s * FRAMES_PER_S)
        )
        for number, (word, start_s, end_s) in enumerate(placed.word_spans(), 1):
            start, end = max(0, round(start_s * FRAMES_PER_S)), max(0, round(end_s * FRAMES_PER_S))
            whole = start_s >= 0 and end_s <= layout.window_s
            frames[start:end, 0] = _WORD_NUMBER[word] if whole else IGNORED
            frames[start:, 1] = last
            frames[start:end, 2] = number if placed.start_s >= 0 else IGNORED
            last = _WORD_NUMBER[word]
            frames[end:, 1] = last
    return frames
