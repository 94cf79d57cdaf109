"""Requests to the decoder, and its answers."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from btworker.engine.asr.decoding.alignment import Alignment, Text
from btworker.engine.asr.decoding.trie import Trie
from btworker.engine.asr.spectrograms import WindowSamples


@dataclass(frozen=True, slots=True)
class Decoded:
    """The text of a window."""

    tokens: tuple[int, ...]
    """Without the prompt and special tokens at the beginning, and without the end of text."""
    text: str
    avg_logprob: float
    no_speech_prob: float
    temperature: float
    compression_ratio: float
    logprobs: tuple[float, ...] = ()
    """Of each token."""
    alignment: Alignment | None = None

    def aligned(self, alignment: Alignment | None) -> "Decoded":
        """Return the same with the times of its words."""
        return replace(self, alignment=alignment)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A window as the encoder gives it."""

    features: Tensor
    """(1500, size), on the device."""
    languages: dict[str, float]
    """Probability of each language; empty where the model knows one only."""


@dataclass(frozen=True, slots=True)
class LanguageRequest:
    """A window whose language is to be detected."""

    mel: Tensor | WindowSamples
    """(n_mels, 3000), or of what it is computed."""


@dataclass(frozen=True, slots=True)
class TextRequest:
    """A window whose text is wanted."""

    sound: Tensor | WindowSamples
    """(n_mels, 3000), or of what it is computed; where the window is encoded already, Encoded.features."""
    start: tuple[int, ...]
    """Prompt, and the special tokens of language and task."""
    sot: int
    """Index in `start` of the start-of-transcript token."""
    timed: bool
    temperatures: tuple[float, ...]
    """Tried in turn until a text is acceptable."""
    beams: int
    """At temperature 0; above, there is one sample."""
    seed: str
    """Names the recording and the window: the same samples are drawn for the same name and temperature."""
    unacceptable: Callable[[Decoded], bool] = field(compare=False)
    to_align: Callable[[Decoded], Text | None] = field(compare=False)
    """The words whose times are wanted, of an acceptable text."""
    is_encoded: bool = False
    """`sound` went through the encoder."""
    hopeless: Callable[[str], bool] | None = field(default=None, compare=False)
    """Whether a text that begins like this cannot become acceptable, and so is not decoded to its end. Asked of greedy
    and sampled texts, but not at the last temperature, whose text stands."""
    terms: Trie | None = field(default=None, compare=False)
    """Those that are favoured."""


def chances(seed: str, temperature: float, count: int) -> Tensor:
    """Draw the numbers that decide what is sampled: the same for the same seed and temperature; float32 in [0, 1)."""
    digest = hashlib.sha256(f"{seed}:{temperature}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    # a little below 1, so that the product with a sum of probabilities stays below that sum in float32
    return torch.rand(count, generator=generator) * (1 - 1e-6)
