"""Where a row goes back to. A greedy row that was led into a term and out of it again before its end would keep the
beginning of a word that it would never have chosen: its tokens are taken back, and the place is decoded without terms.

All on the device, by masks: a step that takes something back is the same step.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


class Retreat:
    """The state of each row as it was where its term began to lead it."""

    def __init__(self, length: Tensor, others: Sequence[Tensor]) -> None:
        """`length` is how many tokens each row has, `others` what else goes back with it; shape (rows,)."""
        self._state = (length, *others)
        self._saved = tuple(torch.zeros_like(tensor) for tensor in self._state)
        self._is_led = torch.zeros_like(length, dtype=torch.bool)
        self._plain_at = torch.full_like(length, -1)

    @property
    def row_state(self) -> tuple[Tensor, ...]:
        """What moves with a row."""
        return *self._saved, self._is_led, self._plain_at

    def restart(self, rows: Tensor) -> None:
        """Begin these rows anew."""
        self._is_led.index_fill_(0, rows, value=False)
        self._plain_at.index_fill_(0, rows, -1)

    def is_plain(self, rows: slice) -> Tensor:
        """Find the rows whose next token is chosen without terms: they have been led astray there; shape (rows,)."""
        return self._state[0][rows] == self._plain_at[rows]

    def note(self, rows: slice, led: Tensor) -> Tensor:
        """Remember how the rows stand whose next token, not appended yet, is a term's doing; return which begin so."""
        begins = led & ~self._is_led[rows]
        for saved, now in zip(self._saved, self._state, strict=True):
            saved[rows] = torch.where(begins, now[rows], saved[rows])
        self._is_led[rows] |= begins
        return begins

    def take(self, rows: slice, *, left: Tensor, is_whole: Tensor) -> None:
        """Take back what rows were led to that have `left` their term; a whole one stands."""
        goes_back = left & self._is_led[rows]
        for saved, now in zip(self._saved, self._state, strict=True):
            now[rows] = torch.where(goes_back, saved[rows], now[rows])
        self._plain_at[rows] = torch.where(goes_back, self._saved[0][rows], self._plain_at[rows])
        self._is_led[rows] &= ~(goes_back | is_whole)
