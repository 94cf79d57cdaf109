"""Which segments the model may have invented, and why: the controller's reasons. Flags, and removes nothing.

Each reason alone says how likely an invention is (its weight); together they say 1 - (1 - a)(1 - b)…, as if they were
independent. A segment is flagged from 0.9 - sensitivity/100 x 0.6 on: 0.6 at 50, the default. The weights are chosen
by hand, so that at 50 one strong reason is enough, and of the weak ones (the model's own numbers, which hold for a
whole window) it takes two, or a log-probability that is far from its threshold.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

from btworker.engine.quality.loops import is_looping
from btworker.engine.quality.phrases import doubt_of, normalized
from btworker.engine.quality.scripts import foreign_share, is_dense
from btworker.transcript import Hallucination, Segment

STRONG, MEDIUM, WEAK = 0.9, 0.65, 0.4
GROWTH = 0.35
"""How much a weight grows with each unit between a number and its threshold, up to STRONG."""
LOGPROB_THRESHOLD = -1.0
"""Mean log-probability of the tokens below which openai-whisper does not believe a text."""
COMPRESSION_RATIO_THRESHOLD = 2.4
"""openai-whisper's, too: a text that compresses better than this repeats itself."""
MAX_LETTERS_PER_S = 35.0
"""Fast speakers reach 25 characters a second in English; a letter of CJK, kana or Hangul counts 2.5."""
DENSE_LETTER = 2.5
SHORT_TEXT = 20
"""Letters up to which the rate means nothing: the times of short segments are not exact."""
LEAST_S = 0.5
FOREIGN_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class Doubt:
    """A reason of the controller's contract, and how likely an invention it alone makes."""

    reason: str
    weight: float


def threshold(sensitivity: int) -> float:
    """Compute the confidence from which on a segment is flagged; `sensitivity` is 0 to 100."""
    return round(0.9 - sensitivity / 100 * 0.6, 6)


def assess(
    segments: Sequence[Segment],
    *,
    language: str,
    sensitivity: int,
    no_speech_threshold: float = 0.6,
    last_temperature: float | None = None,
) -> tuple[Segment, ...]:
    """Give each segment its `hallucination` where there is a reason. `language` is the code of the text's, where a
    segment has none of its own; `last_temperature` the one after which the decoder gives up, where it tries several.

    A translation's text is English. A language that is not known has no foreign characters.
    """
    plain = [normalized(segment.text) for segment in segments]
    assessed = []
    for segment, text, repeated in zip(segments, plain, _repeated(plain), strict=True):
        doubts = [*_doubts_of_text(segment, text, segment.language or language), *repeated]
        doubts += _doubts_of_numbers(segment, no_speech_threshold, last_temperature)
        assessed.append(_assessed(segment, doubts, sensitivity))
    return tuple(assessed)


def _assessed(segment: Segment, doubts: list[Doubt], sensitivity: int) -> Segment:
    if not doubts:
        return replace(segment, hallucination=None)
    weights = {doubt.reason: 0.0 for doubt in doubts}
    for doubt in doubts:
        weights[doubt.reason] = max(weights[doubt.reason], doubt.weight)
    confidence = round(1 - prod(1 - weight for weight in weights.values()), 3)
    flagged = confidence >= threshold(sensitivity)
    return replace(segment, hallucination=Hallucination(confidence, tuple(weights), flagged))


def _doubts_of_text(segment: Segment, plain: str, language: str) -> Iterator[Doubt]:
    emptiness = _emptiness(segment.text)
    if emptiness:
        yield Doubt("empty_or_very_short", emptiness)
    known = doubt_of(plain)
    if known:
        yield Doubt("known_hallucination_phrase", known)
    if foreign_share(segment.text, language) >= FOREIGN_SHARE:
        yield Doubt("foreign_characters", MEDIUM)
    pace = _letters_per_s(plain, segment.end - segment.start)
    if pace > MAX_LETTERS_PER_S:
        yield Doubt("too_much_text_for_duration", _grown(MEDIUM, pace / MAX_LETTERS_PER_S - 1))
    if is_looping(segment.text):
        yield Doubt("repetition", STRONG)


def _doubts_of_numbers(segment: Segment, no_speech_threshold: float, last_temperature: float | None) -> Iterator[Doubt]:
    if segment.no_speech_prob > no_speech_threshold:
        yield Doubt("high_no_speech_prob", _grown(WEAK, segment.no_speech_prob - no_speech_threshold))
    if segment.avg_logprob < LOGPROB_THRESHOLD:
        # after the last temperature the decoder has no better text, and does not believe this one
        weight = WEAK if last_temperature is None or segment.temperature < last_temperature else MEDIUM
        yield Doubt("low_avg_logprob", _grown(weight, LOGPROB_THRESHOLD - segment.avg_logprob))
    if segment.compression_ratio > COMPRESSION_RATIO_THRESHOLD:
        yield Doubt("high_compression_ratio", _grown(MEDIUM, segment.compression_ratio - COMPRESSION_RATIO_THRESHOLD))


def _grown(weight: float, distance: float) -> float:
    """Raise a weight with the distance of a number from its threshold."""
    return min(weight + GROWTH * distance, STRONG)


def _emptiness(text: str) -> float:
    """No words at all; only signs (music notes are music, perhaps); one letter. An ideograph is a word, a digit too."""
    visible = [sign for sign in text if unicodedata.category(sign)[0] not in "PZC"]
    words = [sign for sign in visible if unicodedata.category(sign)[0] in "LN"]
    if not visible:
        return STRONG
    if not words:
        return 0.5
    one_letter = len(words) == 1 and not words[0].isnumeric() and not is_dense(words[0])
    return WEAK if one_letter else 0.0


def _letters_per_s(plain: str, duration_s: float) -> float:
    """Compute the pace of a text; 0 where it is too short to have one."""
    length = sum(DENSE_LETTER if is_dense(sign) else 1.0 for sign in plain)
    return length / max(duration_s, LEAST_S) if length > SHORT_TEXT else 0.0


def _repeated(texts: Sequence[str]) -> list[list[Doubt]]:
    """Find the segments that repeat what is before them, one, two or three segments in a row over and over.

    The first round may have been spoken, and so may a short answer that is given a few times.
    """
    doubts: list[list[Doubt]] = [[] for _ in texts]
    for period in (1, 2, 3):
        run = 0
        for place in range(period, len(texts) + 1):
            if place < len(texts) and texts[place] and texts[place] == texts[place - period]:
                run += 1
                continue
            weight = _weight(texts[place - run : place], period)
            for index in range(place - run, place):
                doubts[index] += [Doubt("repetition", weight)] if weight else []
            run = 0
    return doubts


def _weight(again: Sequence[str], period: int) -> float:
    """Weigh a row of segments that each equal the one a period before."""
    length = sum(DENSE_LETTER if is_dense(sign) else 1.0 for text in again[:period] for sign in text)
    if len(again) >= 5 * period or (len(again) >= 2 * period and length > SHORT_TEXT):
        return 0.7
    return WEAK if len(again) >= period and length > SHORT_TEXT else 0.0
