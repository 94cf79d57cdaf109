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
from .layout import Bank, Layout, Placed, Recorded, full_layout, short_layout, silent_layout
from .vocabulary import TokenTable

FRAMES_PER_S = 50
FULL_WINDOW_S = 30.0
IGNORED = -100
_WORD_NUMBER = {word: number + 1 for number, word in enumerate(WORDS)}  # 0 is silence
_MAX_FIRST_TIMESTAMP_S = 1.0  # transcribe never lets a window's first timestamp be later
_PERIOD_S = 0.25
_HALF_TIMESTAMP_S = 0.06
_SILENT_SHARE = 0.05
_TEXT_CONTEXT = 448
_LEAST_PROMPT, _FULL_PROMPT = 6, 223  # tokens; transcribe carries over no more

_LONGEST_LOOP_WORDS, _LOOP_TURNS = 3, 3

# Frames that a decoder row shall look at: first, last (exclusive), and the end of a fading tail; (0, 0, 0) is "free".
Span = tuple[int, int, int]
_FREE: Span = (0, 0, 0)
Row = tuple[int, int, Span]  # a token, the target at the row before, the span that the row before looks at


@dataclass(frozen=True)
class Style:
    """What windows and prompts are drawn; the shares are of all windows, prompts, utterances."""

    full_prompt_share: float = 0.0  # prompts as long as they get, as in every recording of more than two minutes
    alike_share: float = 0.0  # utterances that have words in common with an earlier one of the window or its prompt
    last_share: float = 0.5  # whole windows in which the recording ends
    slip_share: float = 0.0  # words of the text so far that are mistaken, or said again in a loop
    timed_share: tuple[float, float] = (0.7, 0.7)  # takes with timestamps: without a prompt, with one


@dataclass(frozen=True)
class Take:
    """One text of a window. Row i of `targets` and `spans` belongs to the prediction made at token `first + i`."""

    tokens: list[int]
    first: int  # index of <|startoftranscript|>
    targets: list[int]
    spans: list[Span]


@dataclass(frozen=True)
class Example:
    """One window, and one or more ways to ask for its text."""

    mel: Tensor  # (80, 2 * frames)
    offset: int  # position of its first frame in the encoder's 1,500
    takes: list[Take]
    frames: Tensor  # (frames, 4) what the encoder should know of each frame, see _frame_targets


class Composer:
    """Draws examples from a bank; every random choice comes from one `Random`."""

    def __init__(self, bank: Bank, table: TokenTable, seed: int, style: Style) -> None:
        self._bank, self._table, self._style = bank, table, style
        self._word_list = [*table.plain.values(), *table.capital.values()]
        self._words = frozenset(self._word_list)
        self._rng, self._noise = Random(seed), np.random.default_rng(seed)
        self._filters = mel_filters(torch.device("cpu"), 80)
        self._hann = torch.hann_window(N_FFT)

    def example(self, window_s: float, *, takes: int, prompted: bool) -> Example:
        """A window of a recording, or a clip (of its begin, its end or anything between) when `window_s` is less.

        Its takes are each with a prompt of its own, or all without.
        """
        rng, style = self._rng, self._style
        place = rng.choice(("begin", "end", "any")) if window_s < FULL_WINDOW_S else "whole"
        spare = round((FULL_WINDOW_S - window_s) * FRAMES_PER_S)
        offset = {"begin": 0, "end": spare, "any": rng.randint(0, spare), "whole": 0}[place]
        if rng.random() < _SILENT_SHARE:
            layout = silent_layout(rng, window_s)
        elif place in ("end", "whole"):
            layout = full_layout(self._bank, rng, window_s, last_share=style.last_share, alike_share=style.alike_share)
        else:
            layout = short_layout(self._bank, rng, window_s)
        return Example(
            mel=self._mel(layout),
            offset=offset,
            takes=[self._take(layout, offset, prompted=prompted) for _ in range(takes)],
            frames=_frame_targets(layout, offset),
        )

    def _take(self, layout: Layout, offset: int, *, prompted: bool) -> Take:
        timestamps = self._rng.random() < self._style.timed_share[prompted]
        rows = _Script(self._table, layout, offset / FRAMES_PER_S).rows(self._rng, timestamps=timestamps)
        prompt = self._prompt(layout, timestamps=timestamps) if prompted else []
        rows = self._with_slips(rows)[: _TEXT_CONTEXT + 1 - len(prompt)]
        return Take(
            tokens=prompt + [row[0] for row in rows[:-1]],
            first=len(prompt),
            targets=[row[1] for row in rows[1:]],
            spans=[row[2] for row in rows[1:]],
        )

    def _with_slips(self, rows: list[Row]) -> list[Row]:
        """Make mistakes in the text so far, behind which the right one goes on: transcribe makes them, too.

        Who has only seen right texts writes a word that was written twice for ever.
        """
        rng, words, share = self._rng, self._words, self._style.slip_share / 2
        slipped: list[Row] = []
        for token, target, span in rows:
            if token not in words:
                slipped.append((token, target, span))
                continue
            slipped.append((rng.choice(self._word_list) if rng.random() < share else token, target, span))
            if rng.random() < share:
                phrase = [row[0] for row in slipped[-rng.randint(1, _LONGEST_LOOP_WORDS) :] if row[0] in words]
                loop = phrase * rng.randint(1, _LOOP_TURNS)
                slipped += [(again, IGNORED, _FREE) for again in loop]
        return slipped

    def _prompt(self, layout: Layout, *, timestamps: bool) -> list[int]:
        """What transcribe carries over: the tokens of earlier windows, up to the end of the one before."""
        rng, table, style, tokens = self._rng, self._table, self._style, list[int]()
        full = rng.random() < style.full_prompt_share
        count, clock = _FULL_PROMPT if full else rng.randint(_LEAST_PROMPT, _FULL_PROMPT), rng.uniform(0, 1)
        timestamps = timestamps and rng.random() < 0.85
        earlier: list[Recorded] = [placed.utterance for placed in layout.complete]
        while True:
            utterance = self._bank.draw(rng, None, earlier=earlier, alike_share=style.alike_share)
            if clock + utterance.duration_s > FULL_WINDOW_S:
                if len(tokens) >= count:
                    break
                clock = rng.uniform(0, 1)
            earlier.append(utterance)
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
    """The token rows of a layout."""

    def __init__(self, table: TokenTable, layout: Layout, offset_s: float) -> None:
        self.table, self.layout, self.offset_s = table, layout, offset_s
        self._rows: list[Row] = []

    def rows(self, rng: Random, *, timestamps: bool) -> list[Row]:
        t, layout = self.table.tokenizer, self.layout
        silent = not layout.complete and layout.cut is None
        task = t.transcribe if rng.random() < 0.9 else t.translate
        self._add(t.sot, IGNORED)
        self._add(t.language_token, t.no_speech if silent else t.language_token)
        self._add(task, IGNORED)
        if timestamps:
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
