"""Windows get their places in a lane: keys and values of their sound, what their rows read of their starts, and the
state with which they begin. As a graph: hundreds of kernels for a window or two.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from btworker.engine.asr.decoding.graphs import Graphs, least_of, sizes_within
from btworker.engine.asr.decoding.kept_sound import KeptSound
from btworker.engine.asr.decoding.layers import KeysValues
from btworker.engine.asr.decoding.memory import send
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.decoding.trie import Trie

SIZES = (1, 2, 3, 4, 6, 8, 12, 16)
"""Windows that are seated by one graph; where there are fewer, the last one is seated again."""
SIGNS, LENGTHS = 8, (4, 8, 16, 32, 64, 128, 232)
"""Tokens of their starts; the signs of language and task are three or four. What is longer has a prompt, and a graph
once there is one."""
WINDOW, LENGTH, LIMIT, TIMED, TEMPERATURE, SOT, TOKENS = range(7)
"""Columns of the table of windows that begin."""


@dataclass(frozen=True, slots=True)
class Start:
    """What a window's rows begin with."""

    tokens: tuple[int, ...]
    """The prompt and the signs of language and task."""
    timed: bool
    """Whether the text has timestamps."""
    temperature: float
    chances: Tensor | None
    """Above temperature 0: as many numbers in [0, 1) as tokens may be sampled, float32, on the CPU."""
    terms: Trie | None = None
    """Those that are favoured."""
    sot: int = 0
    """Index in `tokens` of the start-of-transcript token."""


def table_of(windows: Sequence[int], starts: Sequence[Start], *, samples: int, longest: int) -> Tensor:
    """Write down what windows begin with; shape (n, TOKENS + tokens). float32 has all of it as it is. A text has
    `samples` tokens at most, and `longest` with its start."""
    width = max(len(start.tokens) for start in starts)
    rows = []
    for window, start in zip(windows, starts, strict=True):
        count = len(start.tokens)
        facts = (window, count, min(count + samples, longest), start.timed, start.temperature, start.sot)
        rows.append([*facts, *start.tokens, *[0] * (width - count)])
    return torch.tensor(rows, dtype=torch.float32)


class Room(Protocol):
    """What is written to when windows are seated; see Lane."""

    own: list[KeysValues]
    sound: list[KeptSound]
    no_speech: Tensor

    def rows_at(self, windows: Tensor) -> Tensor:
        """Find the rows of windows."""

    def begin_rows(self, table: Tensor) -> None:
        """Set the state of rows that begin."""


class Seating:
    """The way of windows into a lane, which owns this, and is not kept by it: its memory may be needed at once."""

    def __init__(self, network: Network, graphs: Graphs | None, *, windows: int, no_speech: int, clears: bool) -> None:
        """`no_speech` is the token whose probability is kept. `clears`: what rows before wrote is cleared behind the
        start: where it is masked when it is read, a NaN times 0 is a NaN."""
        dims = network.dims
        self._network = network
        self._graphs = graphs
        self._no_speech = no_speech
        self._clears = clears
        self._sizes = sizes_within(SIZES, windows)
        self._lengths = sorted({min(length, dims.n_text_ctx) for length in LENGTHS})
        if graphs is not None:
            most = self._sizes[-1]
            shape = (most, dims.n_audio_ctx, dims.n_audio_state)
            self._features = torch.zeros(shape, dtype=network.dtype, device=network.device)
            self._table = torch.zeros((most, TOKENS + self._lengths[-1]), device=network.device)
            self._table[:, LENGTH] = 1

    def record(self, room: Room) -> None:
        """Record what seats few windows or many without a prompt, the largest first; these are the empty places of the
        lane."""
        if self._graphs is not None:
            for size in reversed(self._sizes):
                for length in (length for length in reversed(self._lengths) if length <= SIGNS):
                    self._graphs.prepare(("seat", size, length), partial(self._by_inbox, room, size, length))

    def seat(self, room: Room, features: Sequence[Tensor], table: Tensor, *, written: int) -> None:
        """Give windows their places; `features` are those of their sound, (1500, size). Rows may have written up to
        position `written` there."""
        count, length = len(features), table.shape[1] - TOKENS
        size, padded = least_of(self._sizes, count), least_of(self._lengths, length)
        if self._graphs is None or size is None or padded is None:
            self._take(room, torch.stack(list(features)), send(table, self._network.device), written=written)
            return
        again = [*range(count), *[count - 1] * (size - count)]
        torch.stack([features[at] for at in again], out=self._features[:size])
        self._table[:size, : TOKENS + length] = send(table[again], self._table.device)
        self._graphs.run(("seat", size, padded), partial(self._by_inbox, room, size, padded))

    def _by_inbox(self, room: Room, size: int, length: int) -> None:
        table = self._table[:size, : TOKENS + length]
        self._take(room, self._features[:size], table, written=self._network.dims.n_text_ctx)

    def _take(self, room: Room, features: Tensor, table: Tensor, *, written: int) -> None:
        """Do it; nothing is read back, so that it can be recorded."""
        network = self._network
        at, tokens = table[:, WINDOW].long(), table[:, TOKENS:].long()
        hidden, own = network.read(tokens, self._keep_sound(room, at, features))
        after_sot = network.logits(hidden[torch.arange(len(at), device=at.device), table[:, SOT].long()])
        room.no_speech[at] = after_sot.softmax(-1)[:, self._no_speech]
        rows, length = room.rows_at(at), tokens.shape[1]
        for past, read in zip(room.own, own, strict=True):
            past[:, rows, :, :length] = read.repeat_interleave(len(rows) // len(at), dim=1)
            if self._clears and written > length:
                # not by `past[:, rows, …] = 0`: the 0 is sent from the host, which waits, and voids a recording
                past[:, :, :, length:written].index_fill_(1, rows, 0.0)
        room.begin_rows(table)

    def _keep_sound(self, room: Room, at: Tensor, features: Tensor) -> Iterator[KeysValues]:
        """Keep the sound of windows in their places, a layer at a time: of all layers it is 250 MB a window."""
        for kept, new in zip(room.sound, self._network.cross_keys_values(features), strict=True):
            kept.keep(at, new)
            yield new
