"""The way in: who has samples gets spans of speech and windows for the decoder. Runs in the child."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from btworker.engine.vad.network import SpeechNetwork
from btworker.engine.vad.packing import pack
from btworker.engine.vad.spans import Rules, Span, spans_of


@dataclass(frozen=True, slots=True, eq=False)
class Speech:
    """Where somebody speaks in a recording of `total_samples` at 16 kHz."""

    spans: tuple[Span, ...]
    total_samples: int
    probabilities: npt.NDArray[np.float32]
    """One for each 512 samples."""

    def windows(self, *, limit_s: float = 30.0) -> tuple[Span, ...]:
        """Stretches for the decoder: see pack()."""
        return pack(self.spans, self.total_samples, self.probabilities, limit_s=limit_s)


class SpeechDetector:
    """silero-vad on one device, loaded once (about 50 ms on a CPU) for any number of recordings."""

    def __init__(self, device: torch.device, rules: Rules | None = None) -> None:
        self._network = SpeechNetwork(device)
        self._rules = rules

    def speech(self, samples: npt.NDArray[np.int16], *, check: Callable[[], None]) -> Speech:
        """The speech in 16 kHz mono samples, a memory map of any length. `check` is called often and may raise."""
        probabilities = self._network.probabilities(samples, check=check)
        return Speech(spans_of(probabilities, len(samples), self._rules), len(samples), probabilities)
