"""Words that a transcript leaves out: how many of such places are noticed.

    python -W ignore -m bench.real.skips [--recordings DIR] [--model base] [--seed 1]

The model transcribes recordings of people in windows as fast mode has them. Then one to six words in a row are taken
out of a window's text, and what is left is aligned with its sound, as though the decoder had skipped them. A place is
noticed where missing speech is listed within 0.3 s of it: by the times of words alone, and with the decoder's
attention. The whole texts show what is listed without a cause.
"""

import argparse
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

import torch

from bench.real.ours import load
from bench.real.recordings import OWN, Recording, recordings
from bench.real.weights import SOURCES, UnreachableError, checkpoint
from bench.speed.figures import text_table
from btworker.engine.asr.decoding.alignment import Text, align, words
from btworker.engine.asr.decoding.requests import Decoded
from btworker.engine.asr.recognition import transcriber_of
from btworker.engine.asr.sentences import TimedWord, fit_to_speech
from btworker.engine.asr.timeline import WINDOW_FRAMES, Window
from btworker.engine.asr.weights import Model
from btworker.engine.asr.window_plan import WindowPlan
from btworker.engine.cooperate.side_by_side import side_by_side
from btworker.engine.cooperate.ticket import answers
from btworker.engine.quality.coverage import Interval, joined, unattended, uncovered
from btworker.engine.sound.recording import Recording as Sounding
from btworker.engine.sound.recording import Whole
from btworker.jobs import Options
from btworker.transcript import Segment, Word

MOST_WORDS = 6
"""In a row that are taken out."""
WORDS_PER_CUT = 5
"""Words of a window's text for each place that is tried."""
NEAR_S = 0.3
LENGTHS_S = (0.2, 0.5, 0.8, 1.2, 1.6, float("inf"))
"""Bounds of the rows of the table."""


@dataclass(frozen=True)
class Listed:
    """What is listed as missing in a window."""

    seconds: float
    """Length of what was taken out; 0 of a whole text."""
    by_words: tuple[Interval, ...]
    with_attention: tuple[Interval, ...]
    place: Interval = (0.0, 0.0)
    """Where it was, seconds of the recording."""

    def is_noticed(self, listed: Sequence[Interval]) -> bool:
        """Whether what is listed is near the place."""
        return any(start < self.place[1] + NEAR_S and end > self.place[0] - NEAR_S for start, end in listed)


@dataclass(frozen=True)
class Case:
    """A window and its text."""

    window: Window
    decoded: Decoded
    speech: Sequence[Interval]


def main() -> int:
    """Transcribe, take out, count, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recordings", type=Path, default=OWN, help="a folder with a manifest.json")
    parser.add_argument("--model", choices=sorted(SOURCES), default="base")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        model = load(checkpoint(options.model), "")
    except UnreachableError as error:
        print(error)
        return 1
    luck, found = random.Random(options.seed), []
    for one in recordings(options.recordings):
        if one.is_measured and (model.tokens.is_multilingual or one.language == "en"):
            found += _listed(model, one, luck)
    _print(found)
    return 0


def _print(found: Sequence[Listed]) -> None:
    whole = [one for one in found if not one.seconds]
    for name, kept in (
        ("words", [one.by_words for one in whole]),
        ("attention", [one.with_attention for one in whole]),
    ):
        print(f"{len(whole)} whole texts, listed by {name}: {sum(map(len, kept))} places in {sum(map(bool, kept))}")
    rows = []
    for low, high in pairwise(LENGTHS_S):
        some = [one for one in found if low <= one.seconds < high]
        by_words = sum(one.is_noticed(one.by_words) for one in some)
        rows.append(
            [f"{low:g} to {high:g} s", len(some), by_words, sum(one.is_noticed(one.with_attention) for one in some)]
        )
    print(
        text_table(["taken out", "places", "noticed by words", "and attention"], [list(map(str, row)) for row in rows])
    )


def _listed(model: Model, one: Recording, luck: random.Random) -> Iterator[Listed]:
    """Try a recording."""
    tokenizer = model.tokens.tokenizer(one.language, "transcribe")
    start = (*tokenizer.sot_sequence, tokenizer.no_timestamps)
    for case in _decoded(model, one):
        tokens = [token for token in case.decoded.tokens if token < tokenizer.eot]
        if not tokens or case.decoded.alignment is None:
            continue
        mel = model.log_mel(one.samples).stretch(case.window.seek, case.window.size, size=WINDOW_FRAMES)
        with torch.inference_mode():
            sound = list(model.network.cross_keys_values(model.network.encode(mel[None])))
        timed = words(case.decoded.alignment, tokenizer)
        borders = list(accumulate((len(word.tokens) for word in timed), initial=0))
        for first, last in [(0, 0), *_places(len(timed), luck)]:
            left = (*tokens[: borders[first]], *tokens[borders[last] :])
            (alignment,) = align(model.network, [Text(start, left, case.window.size)], sound, end=tokenizer.eot)
            by_words = uncovered(case.speech, [_segment(words(alignment, tokenizer), case)])
            skipped = unattended(case.speech, alignment.attention, case.window.offset_s)
            low, high = (timed[first].start, timed[last - 1].end) if last else (0.0, 0.0)
            place = low + case.window.offset_s, high + case.window.offset_s
            yield Listed(high - low, by_words, joined(by_words, skipped), place)


def _places(count: int, luck: random.Random) -> Iterator[tuple[int, int]]:
    """Choose words to take out, not the first nor the last."""
    for _ in range(max(3, count // WORDS_PER_CUT)):
        length = luck.randint(1, MOST_WORDS)
        if count >= length + 4:
            first = luck.randrange(1, count - length - 1)
            yield first, first + length


def _segment(timed: Sequence[TimedWord], case: Case) -> Segment:
    at = case.window.offset_s
    fitted = fit_to_speech(timed, [(start - at, end - at) for start, end in case.speech])
    there = tuple(Word(word.word, word.start + at, word.end + at, word.probability) for word in fitted)
    return Segment(0, 0, at, case.window.end_s, case.decoded.text, words=there)


def _decoded(model: Model, one: Recording) -> Sequence[Case]:
    """Decode the windows of a recording."""
    found: list[Case] = []

    async def piece() -> None:
        sounding = Sounding(Whole(one.samples), one.sha256)
        plan = WindowPlan(sounding.sound, model.detector)
        while not plan.is_whole:
            await plan.extend()
        options = Options(model=model.name, decode="fast", language=one.language)
        transcriber, mel = transcriber_of(model, options, one.sha256, one.language), model.log_mel(one.samples)
        asked = [
            transcriber.submit(mel.stretch(window.seek, window.size, size=WINDOW_FRAMES), window)
            for window in plan.windows
        ]
        for window, decoded in zip(plan.windows, await answers(asked), strict=True):
            found.append(Case(window, decoded, plan.speech_between(window.offset_s, window.end_s)))

    for _ in side_by_side([piece], driver=model.decoder, may_begin=lambda: True):
        pass
    return found


if __name__ == "__main__":
    sys.exit(main())
