"""What is asked of the decoder, and what it answers."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from btworker.engine.asr.decoding.alignment import Alignment, Text


@dataclass(frozen=True, slots=True)
class Decoded:
    """What was said in a window."""

    tokens: tuple[int, ...]
    """Without the prompt and signs at the beginning, and without the end of text."""
    text: str
    avg_logprob: float
    no_speech_prob: float
    temperature: float
    compression_ratio: float
    alignment: Alignment | None = None

    def aligned(self, alignment: Alignment | None) -> "Decoded":
        """The same, with the times of its words."""
        return replace(self, alignment=alignment)


@dataclass(frozen=True, slots=True)
class Heard:
    """What the encoder made of a window."""

    features: Tensor
    """(1500, size), on the device."""
    languages: dict[str, float]
    """How probable each language is; empty where nobody asked, or the model knows one only."""


@dataclass(frozen=True, slots=True)
class LanguageRequest:
    """Ask which language is spoken in a window."""

    mel: Tensor
    """(n_mels, 3000)."""


@dataclass(frozen=True, slots=True)
class TextRequest:
    """Ask for the text of a window."""

    sound: Tensor
    """(n_mels, 3000); or, where it is heard already, what the encoder made of it: Heard.features."""
    start: tuple[int, ...]
    """Prompt, and the signs of language and task."""
    sot: int
    """Where in `start` the text's own signs begin."""
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
    heard: bool = False
    """The encoder is through with `sound`."""
    hopeless: Callable[[str], bool] | None = field(default=None, compare=False)
    """Whether a text that begins like this cannot become acceptable: it is then not decoded to its end. Asked of greedy
    and sampled texts, but not at the last temperature, whose text stands."""


def chances(seed: str, temperature: float, count: int) -> Tensor:
    """Numbers that decide what is sampled: the same for the same seed and temperature; float32 in [0, 1)."""
    digest = hashlib.sha256(f"{seed}:{temperature}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
    # a little below 1, so that the product with a sum of probabilities stays below that sum in float32
    return torch.rand(count, generator=generator) * (1 - 1e-6)
