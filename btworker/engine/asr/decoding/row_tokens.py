"""The text of a row, as it comes from the device."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class RowTokens:
    """The tokens of a row, and how probable they are."""

    tokens: tuple[int, ...]
    """Without the start, and without the end of text."""
    sum_logprob: float
    """Over all tokens, and the end of text where there is one."""
    logprobs: tuple[float, ...]
    """Of each token."""
    no_speech_prob: float
    """Of the window."""


class RowsOfRound(Protocol):
    """How the rows of a lane's windows stood at some moment."""

    @property
    def finished(self) -> Sequence[int]:
        """Windows whose texts were at their end."""

    def row(self, window: int) -> RowTokens:
        """Unpack the text of a window."""


@dataclass(frozen=True, slots=True)
class KnownRows:
    """Those that are on the host."""

    finished: Sequence[int]
    row: Callable[[int], RowTokens]


def _none(window: int) -> RowTokens:
    raise IndexError(window)


NO_ROWS: RowsOfRound = KnownRows((), _none)


def pack(facts: Sequence[Tensor], texts: tuple[Tensor, Tensor]) -> Tensor:
    """Put rows into one tensor, to be copied at once: whether each is done, where its text begins and ends, its
    log-probability and that of silence; tokens and their log-probabilities. float32 has all of them as they are."""
    columns = torch.stack([fact.float() for fact in facts], 1)
    return torch.cat((columns, texts[0].float(), texts[1]), 1)


class LaneRows:
    """Those on their way from the device, one to a window."""

    def __init__(self, packed: Tensor, is_there: Callable[[], None], *, end: int) -> None:
        """`packed` is pack()'s, on the CPU once `is_there` returns; `end` is the end of text."""
        self._packed = packed
        self._is_there = is_there
        self._end = end

    @cached_property
    def finished(self) -> Sequence[int]:
        """See RowsOfRound. Waits for the device."""
        self._is_there()
        done: list[int] = np.flatnonzero(self._packed[:, 0].numpy()).tolist()
        return done

    def row(self, window: int) -> RowTokens:
        """See RowsOfRound. Waits for the device."""
        self._is_there()
        packed = self._packed[window].numpy()
        _, started, length, sum_logprob, no_speech = packed[:5].tolist()
        written, size = slice(int(started), int(length)), (len(packed) - 5) // 2
        tokens = packed[5 : 5 + size][written].astype(np.int64).tolist()
        logprobs = packed[5 + size :][written].tolist()
        if tokens and tokens[-1] == self._end:
            tokens.pop()
            logprobs.pop()
        return RowTokens(tuple(tokens), sum_logprob, tuple(logprobs), no_speech)
