"""Which segments the model may have invented, and why: the controller's reasons and some more. Flags, and removes
nothing.

Each reason alone says how likely an invention is (its weight); together they say 1 - (1 - a)(1 - b)…, as if they were
independent: their points, -ln(1 - weight), add up. A segment is flagged from 0.9 - sensitivity/100 x 0.6 on: 0.6 at 50,
the default. What is in the text itself (phrases, loops, letters, pace) has weights chosen by hand: one strong reason is
enough. What the numbers say (measures.py) is fitted to segments of which it is known whether they are invented. What
all of it leaves in doubt is decoded once more (second_look.py).
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import expm1, log1p

from btworker.engine.quality.loops import is_looping
from btworker.engine.quality.measures import RAMPS, Points, SpeechBetween, measures
from btworker.engine.quality.phrases import doubt_of, normalized
from btworker.engine.quality.scripts import foreign_share, is_dense
from btworker.transcript import Hallucination, Segment

STRONG, MEDIUM, WEAK = 0.9, 0.65, 0.4
LEAST_CONFIDENCE = 0.1
"""Below, nothing is said of a segment: hardly a text is without a word that the model found a little improbable."""
LEAST_POINTS = 0.1
"""Of a reason that is named."""
LOGPROB_THRESHOLD = -1.0
"""Mean log-probability of the tokens below which openai-whisper does not believe a text."""
COMPRESSION_RATIO_THRESHOLD = 2.4
"""openai-whisper's, too: a text that compresses better than this repeats itself."""
MAX_LETTERS_PER_S = 35.0
"""Fast speakers reach 25 characters a second in English; a letter of CJK, kana or Hangul counts 2.5."""
PACE_GROWTH = 0.5
"""Weight of each time that a pace is beyond that, up to STRONG: exact mode gives real segments a third too little time
now and then."""
DENSE_LETTER = 2.5
SHORT_TEXT = 20
"""Letters up to which the rate means nothing: the times of short segments are not exact."""
LEAST_S = 0.5
FOREIGN_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class Doubt:
    """A reason, and how likely an invention it alone makes."""

    reason: str
    weight: float

    @property
    def points(self) -> float:
        """What the reason adds to others."""
        return -log1p(-self.weight)


LAST_RESORT = Doubt("low_avg_logprob", WEAK)
"""Of a text that is not to be believed at the last temperature either, however probable its own words are: at least so
much, so that it is flagged unless a second look confirms it."""


def threshold(sensitivity: int) -> float:
    """Compute the confidence from which on a segment is flagged; `sensitivity` is 0 to 100."""
    return round(0.9 - sensitivity / 100 * 0.6, 6)


def doubts(
    segments: Sequence[Segment],
    *,
    language: str,
    speech_between: SpeechBetween | None = None,
    last_temperature: float | None = None,
) -> list[Points]:
    """Give the points of each reason for each segment. `language` is the code of the text's, where a segment has none
    of its own; `speech_between` returns where the detector finds speech; `last_temperature` is that after which a
    window keeps what it has, None where one was asked for.

    A translation's text is English. A language that is not known has no foreign characters.
    """
    found = []
    for segment, points in zip(segments, text_points(segments, language), strict=True):
        for name, number in measures(segment, speech_between):
            ramp = RAMPS[name]
            points[ramp.reason] += ramp.points * ramp.units(number)
        if is_last_resort(segment, last_temperature):
            points[LAST_RESORT.reason] = max(points[LAST_RESORT.reason], LAST_RESORT.points)
        found.append(points)
    return found


def is_last_resort(segment: Segment, last_temperature: float | None) -> bool:
    """Whether not even the last temperature gave a text to be believed."""
    return segment.temperature == last_temperature and segment.avg_logprob < LOGPROB_THRESHOLD


def assess(segments: Sequence[Segment], found: Sequence[Points], *, sensitivity: int) -> tuple[Segment, ...]:
    """Give each segment its `hallucination` where there is a reason; `found` are the doubts of each."""
    return tuple(_assessed(segment, points, sensitivity) for segment, points in zip(segments, found, strict=True))


def text_points(segments: Sequence[Segment], language: str) -> list[Points]:
    """Give the points of each reason that is in the text itself, for each segment; 0 for other reasons."""
    plain = [normalized(segment.text) for segment in segments]
    found = []
    for segment, text, repeated in zip(segments, plain, _repeated(plain), strict=True):
        points = Points(float)
        for doubt in (*_doubts_of_text(segment, text, segment.language or language), *repeated):
            points[doubt.reason] = max(points[doubt.reason], doubt.points)
        found.append(points)
    return found


def _assessed(segment: Segment, points: Points, sensitivity: int) -> Segment:
    confidence = round(-expm1(-sum(points.values())), 3)
    if confidence < LEAST_CONFIDENCE:
        return replace(segment, hallucination=None)
    heaviest = sorted(points, key=lambda reason: -points[reason])
    reasons = [reason for reason in heaviest if points[reason] >= LEAST_POINTS] or heaviest[:1]
    flagged = confidence >= threshold(sensitivity)
    return replace(segment, hallucination=Hallucination(confidence, tuple(reasons), flagged))


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
        yield Doubt("too_much_text_for_duration", min(PACE_GROWTH * (pace / MAX_LETTERS_PER_S - 1), STRONG))
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


def _letters_per_s(plain: str, duration_s: float) -> float:
    """Compute the pace of a text; 0 where it is too short to have one."""
    length = _letters(plain)
    return length / max(duration_s, LEAST_S) if length > SHORT_TEXT else 0.0


def _letters(plain: str) -> float:
    return sum(DENSE_LETTER if is_dense(sign) else 1.0 for sign in plain)


def _repeated(texts: Sequence[str]) -> list[list[Doubt]]:
    """Find the segments that repeat what is before them, one, two or three segments in a row over and over.

    The first round may have been spoken, and so may a short answer that is given a few times. Segments without words
    do not count: exact mode has some, between others that repeat.
    """
    doubts: list[list[Doubt]] = [[] for _ in texts]
    places = [place for place, text in enumerate(texts) if text]
    worded = [texts[place] for place in places]
    for period in (1, 2, 3):
        run = 0
        for at in range(period, len(worded) + 1):
            if at < len(worded) and worded[at] == worded[at - period]:
                run += 1
                continue
            weight = _weight(worded[at - run : at], period)
            for place in places[at - run : at]:
                doubts[place] += [Doubt("repetition", weight)] if weight else []
            run = 0
    return doubts


def _weight(again: Sequence[str], period: int) -> float:
    """Weigh a row of segments that each equal the one a period before."""
    rounds, is_short = len(again) // period, sum(map(_letters, again[:period])) <= SHORT_TEXT
    if rounds >= (5 if is_short else 2):
        return 0.7
    return WEAK if rounds >= (3 if is_short else 1) else 0.0
