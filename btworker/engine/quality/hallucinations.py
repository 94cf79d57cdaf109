"""Which segments the model may have invented, and why: the controller's reasons. Flags, and removes nothing.

Each reason alone says how likely an invention is (its weight); together they say 1 - (1 - a)(1 - b)…, as if they were
independent. A segment is flagged from 0.9 - sensitivity/100 x 0.6 on: 0.6 at 50, the default. The weights are chosen
by hand, so that at 50 one strong reason is enough, and of the weak ones (the model's own numbers, which hold for a
whole window) it takes two.
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
    segments: Sequence[Segment], *, language: str, sensitivity: int, no_speech_threshold: float = 0.6
) -> tuple[Segment, ...]:
    """Give each segment its `hallucination` where there is a reason. `language` is the code of the text's, where a
    segment has none of its own.

    A translation's text is English. A language that is not known has no foreign characters.
    """
    plain = [normalized(segment.text) for segment in segments]
    repeated = _repeated(plain)
    return tuple(
        _assessed(
            segment, [*_doubts(segment, text, segment.language or language, no_speech_threshold), *again], sensitivity
        )
        for segment, text, again in zip(segments, plain, repeated, strict=True)
    )


def _assessed(segment: Segment, doubts: list[Doubt], sensitivity: int) -> Segment:
    if not doubts:
        return replace(segment, hallucination=None)
    weights = {doubt.reason: 0.0 for doubt in doubts}
    for doubt in doubts:
        weights[doubt.reason] = max(weights[doubt.reason], doubt.weight)
    confidence = round(1 - prod(1 - weight for weight in weights.values()), 3)
    flagged = confidence >= threshold(sensitivity)
    return replace(segment, hallucination=Hallucination(confidence, tuple(weights), flagged))


def _doubts(segment: Segment, plain: str, language: str, no_speech_threshold: float) -> Iterator[Doubt]:
    emptiness = _emptiness(segment.text)
    if emptiness:
        yield Doubt("empty_or_very_short", emptiness)
    known = doubt_of(plain)
    if known:
        yield Doubt("known_hallucination_phrase", known)
    if foreign_share(segment.text, language) >= FOREIGN_SHARE:
        yield Doubt("foreign_characters", MEDIUM)
    if segment.no_speech_prob > no_speech_threshold:
        yield Doubt("high_no_speech_prob", WEAK)
    if segment.avg_logprob < LOGPROB_THRESHOLD:
        yield Doubt("low_avg_logprob", WEAK)
    if segment.compression_ratio > COMPRESSION_RATIO_THRESHOLD:
        yield Doubt("high_compression_ratio", MEDIUM)
    if _too_much(plain, segment.end - segment.start):
        yield Doubt("too_much_text_for_duration", MEDIUM)
    if is_looping(segment.text):
        yield Doubt("repetition", STRONG)


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


def _too_much(plain: str, duration_s: float) -> bool:
    length = sum(DENSE_LETTER if is_dense(sign) else 1.0 for sign in plain)
    return length > SHORT_TEXT and length > MAX_LETTERS_PER_S * max(duration_s, LEAST_S)


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
