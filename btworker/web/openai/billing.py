"""What a request used up, as OpenAI counts it: by the seconds, or by tokens. Pure."""

import math
from typing import Literal

from typing_extensions import TypedDict

from btworker.transcript import Transcript

AUDIO_TOKENS_PER_S = 10
"""As OpenAI counts the sound of its models that are paid by tokens."""


class Usage(TypedDict):
    """What was used up: seconds of audio."""

    type: Literal["duration"]
    seconds: float


class InputTokens(TypedDict):
    """Of a request: its prompt's tokens, and ten for each second of audio, as OpenAI counts."""

    text_tokens: int
    audio_tokens: int


class TokenUsage(TypedDict):
    """What was used up, in tokens; those of the output are the model's own."""

    type: Literal["tokens"]
    input_tokens: int
    input_token_details: InputTokens
    output_tokens: int
    total_tokens: int


def usage(transcript: Transcript) -> Usage:
    """Count by the recording's length."""
    return {"type": "duration", "seconds": transcript.duration_s}


def token_usage(transcript: Transcript) -> TokenUsage:
    """Count as for the models that OpenAI charges by tokens."""
    text = int(dict(transcript.provenance).get("promptTokens", 0))
    audio = math.ceil(transcript.duration_s * AUDIO_TOKENS_PER_S)
    output = sum(len(segment.tokens) for segment in transcript.segments)
    return {
        "type": "tokens",
        "input_tokens": text + audio,
        "input_token_details": {"text_tokens": text, "audio_tokens": audio},
        "output_tokens": output,
        "total_tokens": text + audio + output,
    }
