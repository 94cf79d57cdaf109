"""What the engine makes of clips, kept in the user's cache: fitting takes seconds, decoding half an hour."""

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch

from bench.real.flags.clips import Clip, Voice
from bench.real.flags.labels import labels, timed
from bench.real.ours import Ours
from bench.real.recordings import Recording
from bench.real.scoring import timed_words
from bench.real.weights import cache_folder, checkpoint
from btworker.engine.asr.recognition import REVISION
from btworker.engine.asr.second_look import ROOM_S
from btworker.engine.asr.transcriber import FALLBACK_TEMPERATURES
from btworker.engine.quality.hallucinations import doubts
from btworker.engine.quality.measures import Points
from btworker.engine.quality.second_look import is_worth_it
from btworker.engine.vad.detector import SpeechDetector
from btworker.jobs import Options
from btworker.transcript import Segment

AT_ONCE = 16
"""Clips whose windows share batches."""
LOOK_REVISION = 2
"""Revision of what a second look makes of its decoding."""
OF_SEGMENTS = ("avg_logprob", "compression_ratio", "no_speech_prob")
"""Rounded, as times are."""


@dataclass(frozen=True)
class Row:
    """What became of one clip."""

    half: str
    recipe: str
    model: str
    what: str
    language: str
    """Of the text."""
    options: dict[str, Any]
    speech: tuple[tuple[float, float], ...]
    """Where the detector finds speech: (start, end) in seconds."""
    segments: tuple[Segment, ...]
    labels: tuple[str, ...]
    shares: tuple[float | None, ...] = ()
    """Of each segment's letters, what came out again; None where nobody looked."""

    @property
    def doubtful(self) -> list[int]:
        """Indices of segments that are worth a second look."""
        return [n for n, points in enumerate(self.points) if is_worth_it(self.segments[n].text, points)]

    @property
    def points(self) -> list[Points]:
        """What is doubtful of each segment at first, as the engine has it."""
        return doubts(
            self.segments,
            language=self.language,
            speech_between=self.speech_between,
            last_temperature=self.last_temperature,
        )

    @property
    def last_temperature(self) -> float | None:
        """That after which a window keeps what it has; None where one was asked for."""
        return FALLBACK_TEMPERATURES[-1] if self.options["temperature"] is None else None

    def speech_between(self, low: float, high: float) -> list[tuple[float, float]]:
        """List the speech between two times, cut off there."""
        return [(max(start, low), min(end, high)) for start, end in self.speech if start < high and end > low]


def voice(recording: Recording) -> Voice:
    """Find when the words of a recording are spoken: by base, with five beams."""
    path = _folder() / f"voice-{recording.sha256[:16]}.json"  # of any revision: what was spoken does not change
    if not path.exists():
        heard = _engine("base").transcribe(recording, "fast", 5)
        _write(path, timed_words(heard, recording.language))
    found = [(word, start, end) for word, start, end in json.loads(path.read_text())]
    spoken = timed(recording.reference, found, recording.language, recording.seconds)
    return Voice(recording.name, recording.language, recording.samples, tuple(spoken))


@cache
def _engine(model: str) -> Ours:
    return Ours(checkpoint(model))


def transcribe(some: Sequence[Clip], model: str, *, until: float) -> int:
    """Transcribe the clips that are not in the cache, up to a moment of time.monotonic(); count those that are left."""
    missing = [clip for clip in some if not _place(clip, model).exists()]
    while missing and time.monotonic() < until:
        _transcribe(_engine(model), missing[:AT_ONCE], model)
        missing = missing[AT_ONCE:]
    return len(missing)


def look_again(some: Sequence[Clip], model: str, *, until: float) -> int:
    """Decode doubtful segments of transcribed clips once more, unless that is in the cache; as transcribe()."""
    left = 0
    for clip in some:
        row = _row(clip, model)
        place = _place(clip, model, row.doubtful)
        if place.exists():
            continue
        if time.monotonic() >= until:
            left += 1
            continue
        doubtful = [row.segments[n] for n in row.doubtful]
        asked = Options(model=model, **clip.options)
        _write(place, _engine(model).second_look(clip.samples, doubtful, asked, row.language) if doubtful else [])
    return left


def rows(some: Sequence[Clip], model: str) -> Iterator[Row]:
    """Read what became of clips that were transcribed and looked at again."""
    for clip in some:
        row = _row(clip, model)
        doubtful = row.doubtful
        found = dict(zip(doubtful, json.loads(_place(clip, model, doubtful).read_text()), strict=True))
        yield replace(row, shares=tuple(found.get(n) for n in range(len(row.segments))))


def _row(clip: Clip, model: str) -> Row:
    raw = json.loads(_place(clip, model).read_text())
    segments = tuple(map(Segment.from_dict, raw["segments"]))
    found = tuple(labels(segments, clip.spoken, clip.language))
    speech = tuple((start, end) for start, end in raw["speech"])
    language, options = raw["language"], dict(clip.options)
    return Row(clip.half, clip.recipe.name, model, clip.what, language, options, speech, segments, found)


def _transcribe(engine: Ours, some: Sequence[Clip], model: str) -> None:
    detector = SpeechDetector(torch.device("cpu"))
    asked = [Options(model=model, word_timestamps=True, hallucination_detection=False, **clip.options) for clip in some]
    found = engine.recognize([(clip.samples, clip.sha256) for clip in some], asked)
    for clip, recognition in zip(some, found, strict=True):
        speech = detector.speech(clip.samples)
        shape = {
            "language": recognition.language,
            "speech": [[round(second, 3) for second in span.seconds] for span in speech.voiced],
            "segments": [_rounded(segment.to_dict()) for segment in recognition.segments],
        }
        _write(_place(clip, model), shape)


def _rounded(shape: dict[str, Any]) -> dict[str, Any]:
    words = [
        {"word": one["word"], **{name: round(one[name], 3) for name in ("start", "end", "probability")}}
        for one in shape.get("words", ())
    ]
    numbers = {name: round(shape[name], 4) for name in (*OF_SEGMENTS, "start", "end")}
    return {**shape, **numbers, "tokens": [], "words": words}


def _place(clip: Clip, model: str, doubtful: Sequence[int] | None = None) -> Path:
    """Name the file of a clip's segments, or of the second look at some of them."""
    again = [] if doubtful is None else [LOOK_REVISION, ROOM_S, *doubtful]
    facts = json.dumps([clip.sha256, model, dict(clip.options), REVISION, *again], sort_keys=True)
    return _folder() / f"{hashlib.sha256(facts.encode()).hexdigest()[:32]}.json"


def _folder() -> Path:
    return cache_folder() / "flags"


def _write(path: Path, shape: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as part:
        json.dump(shape, part, ensure_ascii=False)
    os.replace(part.name, path)
