"""A layer and a transcript -> the corrected transcript. What no correction is about is shared with the one before."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from btworker.corrections.layer import Corrected, Layer
from btworker.corrections.retiming import retimed
from btworker.outputs.presentation import voice_of
from btworker.transcript import Segment, Transcript, Turn

Span = tuple[float, float]
Line = tuple[int | None, str | None]
"""Channel and speaker."""


def corrected(transcript: Transcript, layer: Layer, version: int) -> Transcript:
    """The transcript as people corrected it, which says at which version that is."""
    names = {voice: name for voice in _voices(transcript, layer) if (name := layer.shown(voice)) != voice}
    segments = tuple(_segments(transcript.segments, layer, names))
    return replace(
        transcript,
        text="".join(segment.text for segment in segments) if _changes_text(layer) else transcript.text,
        segments=segments,
        turns=_turns(transcript, layer, names),
        people_named=bool(names) or any(one.speaker is not None for one in layer.segments.values()),
        provenance=(*transcript.provenance, ("corrections", {"version": version})),
    )


def _voices(transcript: Transcript, layer: Layer) -> set[str]:
    found = {voice_of(segment) for segment in transcript.segments} | {turn.speaker for turn in transcript.turns}
    found |= {word.speaker for segment in transcript.segments for word in segment.words}
    found |= {one.speaker for one in layer.segments.values()}
    return {voice for voice in found if voice is not None}


def _changes_text(layer: Layer) -> bool:
    return any(one.text is not None for one in layer.segments.values())


def _segments(segments: Iterable[Segment], layer: Layer, names: dict[str, str]) -> Iterator[Segment]:
    for number, segment in enumerate(segments):
        one = layer.segments.get(number)
        found = segment if one is None else _edited(segment, one)
        yield _named(found, names) if names else found


def _edited(segment: Segment, one: Corrected) -> Segment:
    text, words, speaker = segment.text, segment.words, segment.speaker
    found: dict[str, Any] = {"checked": one.checked, "corrected": one.text is not None or one.speaker is not None}
    if one.text is not None:
        text = (" " if text.startswith(" ") and one.text else "") + one.text
        words = retimed(segment, text)
        found |= {"tokens": (), "logprobs": (), "hallucination": None}
    if one.speaker is not None:
        speaker = one.speaker
        words = tuple(word if word.speaker == speaker else replace(word, speaker=speaker) for word in words)
        found["speaker_inferred"] = False
    return replace(segment, text=text, words=words, speaker=speaker, **found)


def _named(segment: Segment, names: dict[str, str]) -> Segment:
    """The segment with its speakers' names; a channel without one stays nobody."""
    if names.keys().isdisjoint({voice_of(segment), *map(voice_of, segment.words)}):
        return segment
    words = tuple(replace(word, speaker=names.get(voice_of(word) or "", word.speaker)) for word in segment.words)
    return replace(segment, speaker=names.get(voice_of(segment) or "", segment.speaker), words=words)


def _turns(transcript: Transcript, layer: Layer, names: dict[str, str]) -> tuple[Turn, ...]:
    """Turns under the names of their speakers; where a segment is somebody else's, so is its time."""
    moved = [
        (transcript.segments[number], one.speaker)
        for number, one in sorted(layer.segments.items())
        if one.speaker is not None and number < len(transcript.segments)
    ]
    turns = list(transcript.turns)
    if moved:
        lost: defaultdict[Line, list[Span]] = defaultdict(list)
        for segment, _ in moved:
            lost[segment.channel, segment.speaker].append((segment.start, segment.end))
        cuts = {line: _disjoint(spans) for line, spans in lost.items()}
        turns = [part for turn in turns for part in _without(turn, cuts.get((turn.channel, turn.speaker), []))]
        turns += [Turn(segment.start, segment.end, speaker, segment.channel) for segment, speaker in moved]
    named = [replace(turn, speaker=names[turn.speaker]) if turn.speaker in names else turn for turn in turns]
    found = _joined(named) if moved or layer.merges else named
    return tuple(sorted(found, key=lambda turn: (turn.start, turn.end)))


def _disjoint(spans: Iterable[Span]) -> list[Span]:
    """The spans in order, those that touch as one."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((start, end))
    return found


def _without(turn: Turn, cuts: Sequence[Span]) -> Iterator[Turn]:
    """What is left of a turn outside of the cuts, which are in order and disjoint."""
    start = turn.start
    for cut_start, cut_end in cuts[bisect_left(cuts, turn.start, key=lambda cut: cut[1]) :]:
        if cut_start >= turn.end:
            break
        if cut_start > start:
            yield replace(turn, start=start, end=cut_start)
        start = max(start, cut_end)
    if start < turn.end:
        yield replace(turn, start=start)


def _joined(turns: Iterable[Turn]) -> Iterator[Turn]:
    """The turns, those of one speaker that touch or overlap as one."""
    lines: defaultdict[Line, list[Span]] = defaultdict(list)
    for turn in turns:
        lines[turn.channel, turn.speaker].append((turn.start, turn.end))
    for (channel, speaker), spans in lines.items():
        yield from (Turn(start, end, speaker or "", channel) for start, end in _disjoint(spans))
