"""A transcript in the shapes of the OpenAI audio API. Pure."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal

from typing_extensions import NotRequired, TypedDict

from btworker.logprobs import TokenLogprob
from btworker.transcript import Segment, Transcript, Word
from btworker.web.languages import LANGUAGES
from btworker.web.openai.billing import TokenUsage, Usage, token_usage, usage

NO_CONFIDENCE = -100.0
"""The mean log-probability of a text for which the model gave no number; below every threshold."""
_UNKNOWN = re.compile(r"SPEAKER_\d+")


class Logprob(TypedDict):
    """A token of the text; its bytes are whole where its characters are not."""

    token: str
    bytes: list[int]
    logprob: float | None


class SpokenLanguage(TypedDict):
    """A language that was found."""

    code: str


class GroqsRequest(TypedDict):
    """Which request this answers, where Groq's clients read it."""

    id: str


class Plain(TypedDict):
    """response_format json."""

    text: str
    languages: NotRequired[list[SpokenLanguage]]
    logprobs: NotRequired[list[Logprob]]
    usage: Usage | TokenUsage
    x_groq: NotRequired[GroqsRequest]


class VerboseSegment(TypedDict):
    """Whisper's own segment."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    speaker: NotRequired[str]
    """Where speakers were asked for: SPEAKER_00, or the name of somebody known."""
    channel: NotRequired[int]


class VerboseWord(TypedDict):
    """A word and when it is said."""

    word: str
    start: float
    end: float
    channel: NotRequired[int]


class Verbose(TypedDict):
    """response_format verbose_json; `words` and `segments` as timestamp_granularities asks."""

    task: str
    language: str
    duration: float
    text: str
    segments: NotRequired[list[VerboseSegment]]
    words: NotRequired[list[VerboseWord]]
    usage: Usage
    x_groq: NotRequired[GroqsRequest]


class DiarizedSegment(TypedDict):
    """Who said what; the first to speak is A."""

    type: Literal["transcript.text.segment"]
    id: str
    start: float
    end: float
    text: str
    speaker: str
    channel: NotRequired[int]


class Diarized(TypedDict):
    """response_format diarized_json."""

    task: Literal["transcribe"]
    duration: float
    text: str
    segments: list[DiarizedSegment]
    usage: Usage
    x_groq: NotRequired[GroqsRequest]


class Model(TypedDict):
    """A name that a request may ask for."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class Models(TypedDict):
    """All of them."""

    object: Literal["list"]
    data: list[Model]


@dataclass(frozen=True, slots=True)
class Reports:
    """What an answer has beside the text, by the model's name and `include`."""

    tokens: bool = False
    """Usage in tokens."""
    languages: bool = False
    logprobs: bool = False


def plain(transcript: Transcript, reports: Reports) -> Plain:
    """response_format json."""
    shape: Plain = {"text": transcript.text.strip(), "usage": usage(transcript)}
    if reports.tokens:
        shape["usage"] = token_usage(transcript)
    if reports.languages:
        shape["languages"] = _languages(transcript)
    if reports.logprobs:
        shape["logprobs"] = logprobs(token for segment in transcript.segments for token in segment.logprobs)
    return shape


def logprobs(tokens: Iterable[TokenLogprob]) -> list[Logprob]:
    """Those of some tokens; what is not a finite number is null."""
    shapes: list[Logprob] = []
    for token in tokens:
        logprob = token.logprob if math.isfinite(token.logprob) else None
        shapes.append({"token": token.text, "bytes": list(token.data), "logprob": logprob})
    return shapes


def verbose(transcript: Transcript, *, task: str, granularities: frozenset[str]) -> Verbose:
    """response_format verbose_json; words stand at the top level."""
    shape: Verbose = {
        "task": task,
        "language": "english" if task == "translate" else LANGUAGES.get(transcript.language, transcript.language),
        "duration": transcript.duration_s,
        "text": transcript.text.strip(),
        "usage": usage(transcript),
    }
    if "segment" in granularities:
        shape["segments"] = [_whispers(segment) for segment in transcript.segments]
    if "word" in granularities:
        words = (word for segment in transcript.segments for word in segment.words)
        shape["words"] = [_word(word) for word in words]
    return shape


def diarized(transcript: Transcript) -> Diarized:
    """response_format diarized_json."""
    return {
        "task": "transcribe",
        "duration": transcript.duration_s,
        "text": transcript.text.strip(),
        "segments": _labelled(transcript),
        "usage": usage(transcript),
    }


def model(name: str) -> Model:
    """An entry of /v1/models."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "btworker"}


def text_delta(piece: str, tokens: Sequence[TokenLogprob] = ()) -> Mapping[str, object]:
    """The next piece of a stream's text, with its tokens where they are asked for."""
    shape: dict[str, object] = {"type": "transcript.text.delta", "delta": piece}
    return {**shape, "logprobs": logprobs(tokens)} if tokens else shape


def last_events(
    transcript: Transcript, reports: Reports, *, text: str, speakers: bool
) -> Iterator[Mapping[str, object]]:
    """The end of a stream: its segments where speakers are asked for, and its whole text."""
    if speakers:
        yield from _labelled(transcript)
    yield {"type": "transcript.text.done", **plain(transcript, reports), "text": text}


def _word(word: Word) -> VerboseWord:
    shape: VerboseWord = {"word": word.word.strip(), "start": word.start, "end": word.end}
    if word.channel is not None:
        shape["channel"] = word.channel
    return shape


def _whispers(segment: Segment) -> VerboseSegment:
    shape: VerboseSegment = {
        "id": segment.id,
        "seek": segment.seek,
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "tokens": list(segment.tokens),
        "temperature": _number(segment.temperature, 0.0),
        "avg_logprob": _number(segment.avg_logprob, NO_CONFIDENCE),
        "compression_ratio": _number(segment.compression_ratio, 0.0),
        "no_speech_prob": _number(segment.no_speech_prob, 0.0),
    }
    if segment.speaker:
        shape["speaker"] = segment.speaker
    if segment.channel is not None:
        shape["channel"] = segment.channel
    return shape


def _number(value: float | None, otherwise: float) -> float:
    """Clients take a number here and nothing else; in a stored transcript, what was not finite is null."""
    return otherwise if value is None or not math.isfinite(value) else value


def _labelled(transcript: Transcript) -> list[DiarizedSegment]:
    """Its segments with their speakers: those that are known by name, others as A, B … in the order in which they
    begin to speak, and AA behind Z. Without speakers, each channel is one."""
    speakers = [_speaker(segment) for segment in transcript.segments]
    known = {speaker for speaker in speakers if not _UNKNOWN.fullmatch(speaker)}
    letters = (label for label in map(_letters, count()) if label not in known)
    labels = {speaker: speaker if speaker in known else next(letters) for speaker in dict.fromkeys(speakers)}
    return [_diarized_segment(one, labels[speaker]) for one, speaker in zip(transcript.segments, speakers, strict=True)]


def _speaker(segment: Segment) -> str:
    return segment.speaker or f"SPEAKER_{(segment.channel or 1) - 1:02d}"


def _diarized_segment(segment: Segment, speaker: str) -> DiarizedSegment:
    shape: DiarizedSegment = {
        "type": "transcript.text.segment",
        "id": f"seg_{segment.id}",
        "start": segment.start,
        "end": segment.end,
        "text": segment.text.strip(),
        "speaker": speaker,
    }
    if segment.channel is not None:
        shape["channel"] = segment.channel
    return shape


def _letters(number: int) -> str:
    letters = ""
    while number >= 0:
        letters = chr(ord("A") + number % 26) + letters
        number = number // 26 - 1
    return letters


def _languages(transcript: Transcript) -> list[SpokenLanguage]:
    """Those of the segments, where each has one of its own, else that of the recording; none without a text."""
    codes = dict.fromkeys(segment.language or transcript.language for segment in transcript.segments)
    return [{"code": code} for code in codes]
