"""In which language windows are: one pass over what the encoder made of them. On a GPU its outcome is on the way while
the next steps are queued, so that the device has something to do when the host looks at it.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from btworker.engine.asr.decoding.finishing import not_finite
from btworker.engine.asr.decoding.memory import fetch
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.decoding.places import LanguageEntry
from btworker.engine.asr.decoding.requests import Encoded


@dataclass(frozen=True, slots=True)
class Pass:
    """Windows whose languages are on their way from the device."""

    entries: Sequence[LanguageEntry]
    features: Tensor
    probable: Tensor
    """Of each language, (n, languages), on the CPU."""
    is_there: Callable[[], None]
    """Waits for it."""


class Detections:
    """The passes of one model, in their order."""

    def __init__(self, network: Network, tokenizer: Any) -> None:
        """Take the model's tokenizer; one of no language is that of a model that takes none."""
        self._network = network
        self._codes = () if tokenizer.language is None else tokenizer.all_language_codes
        self._sot = tokenizer.sot
        # on the device: an index of the host's would be sent at each pass, which waits
        tokens = list(tokenizer.all_language_tokens) if self._codes else []
        self._tokens = torch.tensor(tokens, dtype=torch.long, device=network.device)
        self._passes: deque[Pass] = deque()

    @property
    def entries(self) -> list[LanguageEntry]:
        """Those that have no answer yet."""
        return [entry for one in self._passes for entry in one.entries]

    def begin(self, entries: Sequence[LanguageEntry], features: Tensor) -> None:
        """Queue a pass; `features` are those of the windows, (n, 1500, size). Waits for nothing."""
        (probable,), is_there = fetch([self._probabilities(features)])
        self._passes.append(Pass(entries, features, probable, is_there))

    def _probabilities(self, features: Tensor) -> Tensor:
        """Detect languages as openai-whisper does; (n, languages)."""
        if not self._codes:
            return torch.zeros(len(features), 0)
        sot = torch.full((len(features), 1), self._sot, device=features.device)
        hidden, _ = self._network.read(sot, self._network.cross_keys_values(features))
        return self._network.logits(hidden[:, 0])[:, self._tokens].softmax(-1)

    def answer(self) -> None:
        """Answer all entries; waits for their passes, and for nothing that was queued after them."""
        while self._passes:
            one = self._passes[0]
            one.is_there()
            for entry, features, row in zip(one.entries, one.features, one.probable.tolist(), strict=True):
                if all(map(math.isfinite, row)):
                    entry.ticket.resolve(Encoded(features, dict(zip(self._codes, row, strict=True))))
                else:
                    entry.ticket.fail(not_finite(self._network.device))
            self._passes.popleft()

    def forget(self) -> None:
        """Forget all passes."""
        self._passes.clear()
