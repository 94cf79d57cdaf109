"""The takes of an input: what of it is transcribed by itself, a range of one of its channels, and how their results
become one transcript on the recording's clock. Pure but for the map of the samples.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from btworker.engine.asr.recognition import Recognition
from btworker.engine.asr.timeline import FRAMES_PER_SECOND
from btworker.engine.quality.tidy import words_inside
from btworker.engine.sound.ffmpeg import Audio
from btworker.engine.sound.files import MOST_CHANNELS
from btworker.engine.sound.layout import Stretch
from btworker.ffmpeg import SAMPLE_RATE
from btworker.transcript import ChannelFacts, KnownVoice, Missing, Segment, Turn, Word

SpokenT = TypeVar("SpokenT", Segment, Word, Turn, KnownVoice)
DIGITS = 3
"""Decimals of a time on the recording's clock."""


@dataclass(frozen=True, slots=True)
class Take:
    """Stretch of a channel, or of the mix, as it lies in a scratch file."""

    number: int
    """Number that it has in each attempt, from 1; 0 for all of a recording that is not cut."""
    path: Path
    stretch: Stretch
    channel: int | None = None

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.stretch.count / SAMPLE_RATE

    @property
    def end_s(self) -> float:
        """Where it ends on the recording's clock."""
        return round(self.stretch.start_s + self.duration_s, DIGITS)

    def moved(self, segment: Segment) -> Segment:
        """Put a segment on the recording's clock, and say of which channel it is."""
        by_s = self.stretch.start_s
        return replace(
            segment,
            seek=segment.seek + round(by_s * FRAMES_PER_SECOND),
            start=_later(segment.start, by_s),
            end=_later(segment.end, by_s),
            words=tuple(self._moved(word) for word in segment.words),
            channel=self.channel,
        )

    def _moved(self, word: Word) -> Word:
        by_s = self.stretch.start_s
        return replace(word, start=_later(word.start, by_s), end=_later(word.end, by_s), channel=self.channel)


@dataclass(frozen=True, slots=True)
class Found:
    """What was found in the takes of one channel, or of the mix, on the recording's clock."""

    channel: int | None
    segments: tuple[Segment, ...]
    language: str
    missing_speech: tuple[Missing, ...]
    turns: tuple[Turn, ...] = ()
    no_speakers: str = ""
    known: tuple[KnownVoice, ...] = ()


def takes_of(audio: Audio) -> tuple[Take, ...]:
    """List what is transcribed: each range of each channel that has sound of its own."""
    stretches = audio.stretches or (Stretch(0, audio.sample_count),)
    sources = (
        [(one.number, one.path) for one in audio.channels if one.is_own] if audio.channels else [(None, audio.path)]
    )
    return tuple(
        Take(1 + number * MOST_CHANNELS + (channel or 1) - 1, path, stretch, channel)
        for channel, path in sources
        for number, stretch in enumerate(stretches)
        if stretch.count
    )


def together_of(takes: Sequence[Take], recognitions: Sequence[Recognition]) -> tuple[Found, ...]:
    """Bring the takes of each channel together."""
    pairs = list(zip(takes, recognitions, strict=True))
    channels = dict.fromkeys(take.channel for take in takes)
    return tuple(_found(channel, [pair for pair in pairs if pair[0].channel == channel]) for channel in channels)


def _found(channel: int | None, pairs: Sequence[tuple[Take, Recognition]]) -> Found:
    segments = tuple(take.moved(one) for take, found in pairs for one in words_inside(found.segments))
    missing = tuple(
        Missing(_later(start, take.stretch.start_s), _later(end, take.stretch.start_s), channel)
        for take, found in pairs
        for start, end in found.missing_speech
    )
    language = most_spoken((found.language, spoken_s(found.segments)) for _, found in pairs)
    return Found(channel, segments, language, missing)


def most_spoken(languages: Iterable[tuple[str, float]]) -> str:
    """Find the language with the most seconds, the first of those with none; empty where there is none at all."""
    seconds: dict[str, float] = {}
    for language, spoken_s in languages:
        seconds[language] = seconds.get(language, 0.0) + spoken_s
    return max(seconds, key=lambda one: seconds[one], default="")


def in_order(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """Merge the segments of all channels in time order, numbered anew."""
    merged = sorted(segments, key=lambda one: (one.start, one.end, one.channel or 0))
    return tuple(replace(one, id=number) for number, one in enumerate(merged))


def spoken_s(segments: Iterable[Segment]) -> float:
    """Add up the lengths of segments."""
    return sum(one.end - one.start for one in segments)


def facts_of(audio: Audio, found: Sequence[Found]) -> tuple[ChannelFacts, ...]:
    """Tell of each channel its language, or why it was not transcribed."""
    languages = {one.channel: one.language if one.segments else "" for one in found}
    return tuple(
        ChannelFacts(one.number, languages.get(one.number, ""), silent=one.is_silent, same_as=one.same_as)
        for one in audio.channels
    )


def on_the_clock(turns: Iterable[Turn], takes: Sequence[Take]) -> Iterator[Turn]:
    """Yield the turns of a scratch file on the recording's clock, cut where a range ends."""
    for turn in turns:
        for take in takes:
            begin_s = take.stretch.first / SAMPLE_RATE
            low_s, high_s = max(turn.start, begin_s), min(turn.end, begin_s + take.duration_s)
            if low_s < high_s:
                by_s = take.stretch.start_s - begin_s
                start, end = _later(low_s, by_s), _later(high_s, by_s)
                yield replace(turn, start=start, end=end, channel=take.channel)


def with_distinct_speakers(found: Sequence[Found]) -> tuple[Found, ...]:
    """Give the speakers of all channels distinct labels, in order of appearance. Somebody known keeps their name."""
    spoken = [(turn.start, turn.end, str(one.channel), turn.speaker) for one in found for turn in one.turns]
    matched = {(str(one.channel), known.name): known.speaker for one in found for known in one.known if known.matched}
    labels: dict[tuple[str, str | None], str] = {}
    for *_, channel, speaker in sorted(spoken):
        own = matched.get((channel, speaker), speaker)
        labels.setdefault((channel, own), f"SPEAKER_{len(labels):02d}")
    return tuple(
        _relabeled(one, {own: new for (channel, own), new in labels.items() if channel == str(one.channel)})
        for one in found
    )


def _relabeled(found: Found, labels: dict[str | None, str]) -> Found:
    """Put the labels of one channel in place; a name that has none is that of somebody known."""

    def relabeled(spoken: SpokenT) -> SpokenT:
        return replace(spoken, speaker=labels.get(spoken.speaker, spoken.speaker))

    segments = tuple(
        replace(relabeled(one), words=tuple(relabeled(word) for word in one.words)) for one in found.segments
    )
    return replace(
        found,
        segments=segments,
        turns=tuple(relabeled(turn) for turn in found.turns),
        known=tuple(replace(relabeled(one), channel=found.channel) for one in found.known),
    )


def _later(time_s: float, by_s: float) -> float:
    return round(time_s + by_s, DIGITS) if by_s else time_s
