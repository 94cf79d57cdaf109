"""What a lane asks of the kernels of its steps; plain.py and fused.py have it."""

from collections.abc import Callable
from typing import Protocol

from torch import Tensor

from btworker.engine.asr.decoding.kept_sound import KeptSound
from btworker.engine.asr.decoding.layers import KeysValues, Norm
from btworker.engine.asr.decoding.rules import History, TokenRules

AttendToPast = Callable[[Tensor, KeysValues], Tensor]
"""Attention of each row to its own past, of its query, key and value, (rows, 3 x size), the last two of which are kept
there. Gives (rows, size)."""
AttendToSound = Callable[[Tensor, KeptSound], Tensor]
"""Attention to the sound, of each row's query; (rows, size) -> (rows, size)."""


class RowTexts(Protocol):
    """The texts of a lane's rows, which a greedy step makes longer; see Lane. All of shape (rows, …)."""

    tokens: Tensor
    logprobs: Tensor
    length: Tensor
    limit: Tensor
    done: Tensor
    sum_logprob: Tensor


AppendBest = Callable[[Tensor, History, RowTexts], None]
"""Append the best token that the rules allow to each row that is not done, of its logits, (rows, vocabulary)."""


class StepKernels(Protocol):
    """What a step does between its products."""

    name: str
    """For logs."""
    reads_to_own_end: bool
    """A row's past is read as far as it goes, however far others reach."""

    def add_and_norm(self, x: Tensor, part: Tensor, norm: Norm) -> tuple[Tensor, Tensor]:
        """Add a part to rows, (…, size), of a shape: return the sum, and the sum normed."""

    def to_past(self, positions: Tensor, idle: Tensor, *, reach: int) -> AttendToPast:
        """Make the attention to the past of rows at these positions; of rows that are `idle` nothing is wanted."""

    def to_sound(self, idle: Tensor) -> AttendToSound:
        """Make the attention to the sound; where there are k rows to a window, they stand together."""

    def append_best(self, rules: TokenRules) -> AppendBest | None:
        """Make what ends a greedy step; None where the lane does it by itself."""
