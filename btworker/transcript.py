"""The engine's result and the writers' input: words, segments, turns. Pure records; seconds are seconds of audio.

The dict forms follow openai-whisper's result, so that a stored transcript reads like one and can be rendered again.
"""

from dataclasses import dataclass
from typing import Any

from btworker.logprobs import TokenLogprob
from btworker.transcript_facts import ChannelFacts, KnownVoice, Missing, Turn, channel_shape

__all__ = ["ChannelFacts", "Hallucination", "KnownVoice", "Missing", "Segment", "Transcript", "Turn", "Word"]


@dataclass(frozen=True, slots=True)
class Word:
    """One word; `word` keeps whisper's leading space."""

    word: str
    start: float
    end: float
    probability: float
    speaker: str | None = None
    speaker_inferred: bool = False
    """No turn reaches the word: the speaker is that of the nearest turn."""
    channel: int | None = None
    """Number of its channel, from 1, where each was transcribed by itself."""

    def to_dict(self) -> dict[str, Any]:
        """Whisper's shape, and `speaker` where there is one."""
        shape = {"word": self.word, "start": self.start, "end": self.end, "probability": self.probability}
        return {**shape, **_whose(self)}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "Word":
        """The inverse of to_dict; a missing probability is 0."""
        return cls(
            word=raw["word"],
            start=raw["start"],
            end=raw["end"],
            probability=raw.get("probability", 0.0),
            speaker=raw.get("speaker"),
            speaker_inferred=raw.get("speaker_inferred", False),
            channel=raw.get("channel"),
        )


@dataclass(frozen=True, slots=True)
class Hallucination:
    """Why a segment may have been invented by the model. Nothing is removed for it."""

    confidence: float
    """0 to 1, that it was."""
    reasons: tuple[str, ...]
    flagged: bool
    """The confidence reaches what the job's sensitivity asks for."""

    def to_dict(self) -> dict[str, Any]:
        """A shape for JSON."""
        return {**self.warning(), "flagged": self.flagged}

    def warning(self) -> dict[str, Any]:
        """What a Bulk Transcribe controller reads of a flagged segment."""
        return {"confidence": self.confidence, "reasons": list(self.reasons)}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "Hallucination":
        """The inverse of to_dict."""
        return cls(raw["confidence"], tuple(raw["reasons"]), raw["flagged"])


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment as openai-whisper defines it. `seek` counts mel frames (10 ms) of its window's start."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: tuple[int, ...] = ()
    temperature: float = 0.0
    avg_logprob: float = 0.0
    compression_ratio: float = 0.0
    no_speech_prob: float = 0.0
    words: tuple[Word, ...] = ()
    speaker: str | None = None
    speaker_inferred: bool = False
    """True of all its words."""
    hallucination: Hallucination | None = None
    """None: nobody looked, or nothing speaks for it."""
    language: str = ""
    """Of its text, where each window has a language of its own."""
    channel: int | None = None
    """See Word."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """Of the tokens of its text, where they were asked for."""
    corrected: bool = False
    """Somebody changed its text or its speaker."""
    checked: bool = False
    """Somebody looked at it."""

    def to_dict(self) -> dict[str, Any]:
        """Whisper's shape; `words`, `language`, `speaker`, `channel` and `hallucination` where there are any."""
        shape: dict[str, Any] = {
            "id": self.id,
            "seek": self.seek,
            "start": self.start,
            "end": self.end,
            "text": self.text,
            "tokens": list(self.tokens),
            "temperature": self.temperature,
            "avg_logprob": self.avg_logprob,
            "compression_ratio": self.compression_ratio,
            "no_speech_prob": self.no_speech_prob,
        }
        if self.language:
            shape["language"] = self.language
        if self.logprobs:
            shape["logprobs"] = [token.to_dict() for token in self.logprobs]
        if self.words:
            shape["words"] = [word.to_dict() for word in self.words]
        if self.hallucination:
            shape["hallucination"] = self.hallucination.to_dict()
            if self.hallucination.flagged:  # the name under which a Bulk Transcribe controller looks for it
                shape["hallucination_warning"] = self.hallucination.warning()
        shape |= {name: True for name in ("corrected", "checked") if getattr(self, name)}
        return {**shape, **_whose(self)}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "Segment":
        """The inverse of to_dict; also reads openai-whisper's own segments."""
        doubt = raw.get("hallucination")
        return cls(
            id=raw["id"],
            seek=raw.get("seek", 0),
            start=raw["start"],
            end=raw["end"],
            text=raw["text"],
            tokens=tuple(raw.get("tokens", ())),
            temperature=raw.get("temperature", 0.0),
            avg_logprob=raw.get("avg_logprob", 0.0),
            compression_ratio=raw.get("compression_ratio", 0.0),
            no_speech_prob=raw.get("no_speech_prob", 0.0),
            words=tuple(Word.from_dict(word) for word in raw.get("words", ())),
            speaker=raw.get("speaker"),
            speaker_inferred=raw.get("speaker_inferred", False),
            hallucination=Hallucination.from_dict(doubt) if doubt else None,
            language=raw.get("language", ""),
            channel=raw.get("channel"),
            logprobs=tuple(TokenLogprob.from_dict(token) for token in raw.get("logprobs", ())),
            corrected=raw.get("corrected", False),
            checked=raw.get("checked", False),
        )


def _whose(spoken: Word | Segment) -> dict[str, Any]:
    """`speaker`, and `speaker_inferred` where it is true; nothing where nobody looked for speakers. `channel`, where
    each was transcribed by itself."""
    shape: dict[str, Any] = {} if spoken.speaker is None else {"speaker": spoken.speaker}
    if spoken.speaker is not None and spoken.speaker_inferred:
        shape["speaker_inferred"] = True
    return {**shape, **channel_shape(spoken.channel)}


@dataclass(frozen=True, slots=True)
class Transcript:
    """Everything the engine found in one input."""

    text: str
    language: str
    segments: tuple[Segment, ...]
    duration_s: float
    turns: tuple[Turn, ...] = ()
    provenance: tuple[tuple[str, Any], ...] = ()
    """(name, JSON value) pairs: model, modelSha256, alignmentHeads, versions, device, options,
    promptTokens, attempt, timings."""
    missing_speech: tuple[Missing, ...] = ()
    """Stretches in which speech was detected and no text came out."""
    no_speakers: str = ""
    """Why there are no turns, as a sentence without its full stop, where they were asked for; empty otherwise."""
    known_speakers: tuple[KnownVoice, ...] = ()
    """Those whose voices came with the job, in its order."""
    channels: tuple[ChannelFacts, ...] = ()
    """Channels of the recording, where each was transcribed by itself."""
    people_named: bool = False
    """People put names to speakers: formats that have none otherwise show them."""
    ranges: tuple[tuple[float, float], ...] = ()
    """(start, end) of what was transcribed, in seconds, where it was not all of the recording."""

    def to_dict(self) -> dict[str, Any]:
        """Whisper's result shape with what we add to it."""
        shape: dict[str, Any] = {
            "text": self.text,
            "language": self.language,
            "duration": self.duration_s,
            "segments": [segment.to_dict() for segment in self.segments],
        }
        if self.turns:
            shape["turns"] = [turn.to_dict() for turn in self.turns]
        if self.known_speakers:
            shape["known_speakers"] = [one.to_dict() for one in self.known_speakers]
        if self.no_speakers:
            shape["no_speakers"] = self.no_speakers
        if self.missing_speech:
            shape["missing_speech"] = [stretch.to_dict() for stretch in self.missing_speech]
        if self.channels:
            shape["channels"] = [channel.to_dict() for channel in self.channels]
        if self.ranges:
            shape["ranges"] = [{"start": start, "end": end} for start, end in self.ranges]
        shape["provenance"] = dict(self.provenance)
        return shape

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "Transcript":
        """The inverse of to_dict."""
        return cls(
            text=raw["text"],
            language=raw["language"],
            segments=tuple(Segment.from_dict(segment) for segment in raw["segments"]),
            duration_s=raw.get("duration", 0.0),
            turns=tuple(Turn(**turn) for turn in raw.get("turns", ())),
            provenance=tuple(raw.get("provenance", {}).items()),
            no_speakers=raw.get("no_speakers", ""),
            known_speakers=tuple(map(KnownVoice.from_dict, raw.get("known_speakers", ()))),
            missing_speech=tuple(Missing(**span) for span in raw.get("missing_speech", ())),
            channels=tuple(ChannelFacts(**channel) for channel in raw.get("channels", ())),
            ranges=tuple((span["start"], span["end"]) for span in raw.get("ranges", ())),
        )
