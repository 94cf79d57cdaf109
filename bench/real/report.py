"""What `make real` prints: a table of word errors, then what was lost and invented where, and the RESULT line."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from statistics import mean, quantiles

from bench.real.engines import ALL_HEADS, FORCED
from bench.real.recordings import Recording
from bench.real.scoring import (
    STRETCH_S,
    Errors,
    Place,
    errors,
    inventions,
    is_flagged,
    is_listed,
    losses,
    only_in,
    time_differences,
)
from bench.real.speakers import SpeakerErrors
from bench.real.transcripts import Heard
from bench.speed.figures import text_table

OURS = ("fast", "fast beam 5", "exact", "exact beam 5")
BATCHED_BEAM5 = "faster-whisper batched beam 5"
WORD_TIMES = (
    ("fast", "exact"),
    ("exact", "openai-whisper"),
    ("fast", BATCHED_BEAM5),
    ("fast", ALL_HEADS),
    ("fast", FORCED),
    (ALL_HEADS, FORCED),
    ("exact", FORCED),
    (BATCHED_BEAM5, FORCED),
)
"""Whose words are compared."""


@dataclass
class Findings:
    """All transcripts of one model, by engine and by recording, and what could not be had."""

    recordings: Sequence[Recording]
    heard: dict[str, dict[str, Heard]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    """Engine -> why."""
    speakers: list[SpeakerErrors] = field(default_factory=list)
    """Of each recording that has a reference."""

    def of(self, one: Recording) -> Iterator[tuple[str, Heard]]:
        """Engines and what they made of a recording they know the language of."""
        for name, heard in self.heard.items():
            if one.name in heard:
                yield name, heard[one.name]

    @property
    def engines(self) -> list[str]:
        """Those that are there for their text."""
        return [name for name in self.heard if name not in (ALL_HEADS, FORCED)]

    @property
    def measured(self) -> list[Recording]:
        """Those with text that people wrote."""
        return [one for one in self.recordings if one.is_measured]

    def errors(self, engine: str, one: Recording) -> Errors:
        """Of one transcript."""
        return errors(one.reference, self.heard[engine][one.name].text, one.language)

    def sum(self, engine: str) -> Errors:
        """Over all recordings that are measured."""
        return reduce(add, (self.errors(engine, one) for one in self.measured), Errors())


def print_report(found: Findings) -> None:
    """All of it."""
    engines = found.engines
    for engine, why in found.left_out.items():
        print(f"left out: {engine}: {why}")
    rows = [[one.name, *(_cell(found.errors(engine, one)) for engine in engines)] for one in found.measured]
    print(text_table(["WER % (sub/del/ins of words)", *engines], [*rows, *_sums(found)]))
    for title, lines in (
        ("Languages that were not found", _languages(found)),
        ("Words lost, two or more in a row", _lost(found)),
        ("Words invented, three or more in a row, or where nobody speaks", _invented(found)),
        ("In exact and for the detector, not in fast, half a second or more", _only_in_exact(found)),
        ("Beginnings of the same words, seconds apart", _word_times(found)),
        ("Speakers", [str(one) for one in found.speakers]),
    ):
        print(f"\n{title}")
        print("\n".join(f"  {line}" for line in lines) or "  none")


def _cell(one: Errors) -> str:
    return f"{one.percent:.1f} ({one.substituted}/{one.deleted}/{one.inserted} of {one.words})"


def _sums(found: Findings) -> list[list[str]]:
    engines = found.engines
    seconds = sum(one.seconds for one in found.recordings)
    everything: dict[str, Callable[[Heard], float]] = {
        "CPU s per s of all audio": lambda heard: heard.cpu_s / seconds,
        "windows encoded": lambda heard: heard.windows,
        "rows stepped": lambda heard: heard.steps,
    }
    rows = [["all", *(_cell(found.sum(engine)) for engine in engines)]]
    for what, value in everything.items():
        sums = [sum(map(value, found.heard[engine].values())) for engine in engines]
        rows.append([what, *(f"{one:.3g}" if isinstance(one, float) else str(one or "-") for one in sums)])
    return rows


def _languages(found: Findings) -> list[str]:
    return [
        f"{one.name}: {heard.language} in place of {one.language} ({engine})"
        for one in found.recordings
        if one.language
        for engine, heard in found.of(one)
        if heard.language != one.language
    ]


def _place(one: Recording, place: Place) -> str:
    end = f"{min(place.end, one.seconds):.1f}"
    return f"{one.name} {place.start:.1f}-{end} s: {' '.join(place.words)}"


def _lost(found: Findings) -> list[str]:
    return [
        f"{engine}: {_place(one, place)}{' (listed)' if is_listed(place, heard) else ''}"
        for one in found.measured
        for engine, heard in found.of(one)
        if engine in OURS
        for place in losses(one.reference, heard, one.language)
    ]


def _inventions(one: Recording, heard: Heard) -> list[Place]:
    """Where nobody speaks, every segment is one."""
    if one.is_measured:
        return inventions(one.reference, heard, one.language)
    if not one.has_no_speech:
        return []
    return [Place(tuple(segment.text.split()), segment.start, segment.end) for segment in heard.segments]


def _invented(found: Findings) -> list[str]:
    return [
        f"{engine}: {_place(one, place)[:100]}{' (flagged)' if is_flagged(place, heard) else ''}"
        for one in found.recordings
        for engine, heard in found.of(one)
        if engine in OURS
        for place in _inventions(one, heard)
    ]


def _only_in(found: Findings, one: Recording) -> list[Place]:
    """What exact mode rightly has and fast has not, where the detector hears speech, too."""
    exact, fast = found.heard["exact"][one.name], found.heard["fast"][one.name]
    places = only_in(one.reference, exact, fast, one.language)
    return [place for place in places if one.voiced_s(place.start, place.end) >= STRETCH_S]


def _only_in_exact(found: Findings) -> list[str]:
    if not {"fast", "exact"} <= found.heard.keys():
        return []
    return [
        f"{_place(one, place)} ({'listed' if is_listed(place, found.heard['fast'][one.name]) else 'NOT listed'})"
        for one in found.measured
        for place in _only_in(found, one)
    ]


def _word_times(found: Findings) -> list[str]:
    lines = []
    for first, second in WORD_TIMES:
        if {first, second} <= found.heard.keys():
            apart = [
                seconds
                for one in found.measured
                for seconds in time_differences(
                    found.heard[first][one.name], found.heard[second][one.name], one.language
                )
            ]
            if len(apart) > 1:
                ninetieth = quantiles(apart, n=10)[-1]
                lines.append(
                    f"{first} and {second}: mean {mean(apart):.3f}, 90th percentile {ninetieth:.3f}, {len(apart)} words"
                )
    return lines


def result_line(found: Findings) -> str:
    """The last line: WER in percent, shares as fractions; - where there is nothing to count, or it was left out."""
    fast = found.heard["fast"]
    places = [(place, fast[one.name]) for one in found.recordings for place in _inventions(one, fast[one.name])]
    flagged = sum(is_flagged(place, heard) for place, heard in places)
    real = [
        segment.flagged
        for one in found.measured
        for segment in fast[one.name].segments
        if not any(
            segment.start < place.end and segment.end > place.start for place in _inventions(one, fast[one.name])
        )
    ]
    values = {
        "files": len(found.measured),
        "words": found.sum("fast").words,
        "wer_fast": _percent(found, "fast"),
        "wer_exact": _percent(found, "exact"),
        "wer_fast_beam5": _percent(found, "fast beam 5"),
        "wer_faster_whisper_batched_beam5": _percent(found, BATCHED_BEAM5),
        "deletions_fast": found.sum("fast").deleted,
        "deletions_exact": found.sum("exact").deleted if "exact" in found.heard else "-",
        "unlisted_losses": _unlisted(found) if "exact" in found.heard else "-",
        "inventions": len(places),
        "invention_recall": f"{flagged / len(places):.3f}" if places else "-",
        "real_segments": len(real),
        "false_flag_share": f"{sum(real) / len(real):.4f}" if real else "-",
        "der": _error_rate(found.speakers),
    }
    return "RESULT " + " ".join(f"{name}={value}" for name, value in values.items())


def _unlisted(found: Findings) -> int:
    """Stretches that exact mode has, that fast has not, and that fast does not list either."""
    heard = found.heard["fast"]
    return sum(not is_listed(place, heard[one.name]) for one in found.measured for place in _only_in(found, one))


def _error_rate(speakers: Sequence[SpeakerErrors]) -> str:
    """Over all recordings, as a fraction of what is spoken."""
    speech_s = sum(one.speech_s for one in speakers)
    return f"{sum(one.rate * one.speech_s for one in speakers) / speech_s:.4f}" if speech_s else "-"


def _percent(found: Findings, engine: str) -> str:
    return f"{found.sum(engine).percent:.2f}" if engine in found.heard else "-"
