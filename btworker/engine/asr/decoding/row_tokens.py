"""The text of a row, as it comes from the device."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class RowTokens:
    """The tokens of a row, and how probable they are."""

    tokens: tuple[int, ...]
    """Without the start, and without the end of text."""
    sum_logprob: float
    """Over all tokens, and the end of text where there is one."""
    logprobs: tuple[float, ...]
    """Of each token."""

    @classmethod
    def unpacked(cls, packed: npt.NDArray[np.float64], *, end: int) -> "RowTokens":
        """Unpack where the text begins and ends, its log-probability, its tokens and theirs; float64 has all of them as
        they were. `end` is the end of text."""
        started, length, sum_logprob = packed[:3]
        written, size = slice(int(started), int(length)), (len(packed) - 3) // 2
        tokens = packed[3 : 3 + size][written].astype(np.int64).tolist()
        logprobs = packed[3 + size :][written].tolist()
        if tokens and tokens[-1] == end:
            tokens.pop()
            logprobs.pop()
        return cls(tuple(tokens), float(sum_logprob), tuple(logprobs))
