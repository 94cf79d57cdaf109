"""No figure without equal tokens: ours beside openai-whisper's in float32, window by window.

On a CPU every token has to be the same. A GPU adds up in another order for each batch: there, texts may part where
openai-whisper itself is undecided, which its own logits at the first difference show.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import whisper
from torch import Tensor

NEAR_TIE = {"cpu": 0.0, "cuda": 1e-3}
"""Difference of two logits, of a standard deviation of 6, up to which a choice between them is undecided."""


class GateError(SystemExit):
    """Our tokens differ: there are no figures."""


@dataclass
class Gate:
    """What was compared."""

    windows: int = 0
    near_ties: int = 0
    """Windows whose texts part at a choice that is undecided."""
    largest_gap: float = 0.0
    """Of those."""

    def __str__(self) -> str:
        ties = f", {self.near_ties} part at a near-tie (gap {self.largest_gap:.1e} at most)" if self.near_ties else ""
        return f"{self.windows} windows{ties}"

    def compare(
        self, model: Any, mels: Sequence[Tensor], ours: Sequence[list[int]], theirs: Sequence[list[int]]
    ) -> None:
        """Compare the texts of some windows. Raises GateError where they differ for no reason."""
        limit = NEAR_TIE[mels[0].device.type]
        for number, (mel, mine, wanted) in enumerate(zip(mels, ours, theirs, strict=True)):
            self.windows += 1
            if mine == wanted:
                continue
            gap = gap_at_first_difference(model, mel, mine, wanted)
            if gap > limit:
                raise GateError(
                    f"tokens of window {number} differ from openai-whisper's, whose logits are {gap:.2e} apart there "
                    f"(a near-tie is up to {limit:g}): no figures"
                )
            self.near_ties += 1
            self.largest_gap = max(self.largest_gap, gap)


@torch.no_grad()
def gap_at_first_difference(model: Any, mel: Tensor, mine: list[int], wanted: list[int]) -> float:
    """Compute how far openai-whisper's own choice is from ours where the texts part: of both tokens' logits, or of what
    decides whether a timestamp has to come, the smaller."""
    task = whisper.decoding.DecodingTask(model, whisper.DecodingOptions(language="en", fp16=False))
    end = task.tokenizer.eot
    at = next(
        index for index, (one, other) in enumerate(zip([*mine, end], [*wanted, end], strict=False)) if one != other
    )
    tokens = torch.tensor([[*task.initial_tokens, *wanted[:at]]], device=mel.device)
    logits = model.logits(tokens, model.embed_audio(mel[None]))[:, -1].float()
    chosen = [([*text, end])[at] for text in (mine, wanted)]
    tokens_gap = abs(float(logits[0, chosen[0]] - logits[0, chosen[1]]))
    logprobs, stamps = logits.log_softmax(-1)[0], task.tokenizer.timestamp_begin
    stamps_gap = abs(float(logprobs[stamps:].logsumexp(-1) - logprobs[:stamps].max()))
    return min(tokens_gap, stamps_gap if (chosen[0] >= stamps) != (chosen[1] >= stamps) else tokens_gap)
