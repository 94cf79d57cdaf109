"""Which tokens the terms of each row favour now, on the device: tables of fixed shape, read by a step without a look
back, so that it can be recorded as a graph. A row reads its own window's terms alone.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from btworker.engine.asr.decoding.memory import send
from btworker.engine.asr.decoding.trie import ROOTS, Trie

Widths = tuple[int, int]
"""Room for the children of a row's node, and for those of its root; (0, 0) where no window has terms."""
NO_TERMS: Widths = (0, 0)


@dataclass(frozen=True, slots=True)
class Favoured:
    """Tokens that lead on in a term, or into one; shape (rows, n), padded with a token that is never chosen."""

    tokens: Tensor
    value: Tensor
    """What each gains."""
    node: Tensor
    """Where each leads."""
    inner: int
    """How many of them go on in a term that has begun: they stand first."""
    held: Tensor
    """What a row loses with any other token; shape (rows,)."""

    def better(self, logits: Tensor, chosen: tuple[Tensor, Tensor], banned: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the favoured token, its logit, and whether it is another one, of each row where its gain puts it
        before the one that was chosen; `banned` are rows in which no word may come. Shape (rows,), logits apart."""
        scores = (logits.gather(1, self.tokens) + self.value).masked_fill_(banned[:, None], -torch.inf)
        score, at = scores.max(1, keepdim=True)
        token = self.tokens.gather(1, at)
        is_better = score[:, 0] > chosen[1]
        best = torch.where(is_better, token[:, 0], chosen[0])
        logit = torch.where(is_better, logits.gather(1, token)[:, 0], chosen[1])
        return best, logit, best != chosen[0]

    def scores(self, logprobs: Tensor) -> Tensor:
        """Add gains to log-probabilities, and take back what is lost; (rows, vocabulary)."""
        gained = logprobs.gather(1, self.tokens) + self.value
        return logprobs.scatter_reduce(1, self.tokens, gained, "amax") - self.held[:, None]

    def likeliest(self, logprobs: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
        """Find the likeliest tokens of each row that go on in a term, and then those that begin one, `most` of each:
        tokens, where they lead and what they gain, (rows, any). Tokens of one kind gain the same, since they follow on
        one node; those that go on gain no less."""
        known = logprobs.gather(1, self.tokens)
        inner, begin = known[:, : self.inner], known[:, self.inner :]
        goes_on, begins = (some.topk(min(most, some.shape[1])).indices for some in (inner, begin))
        at = torch.cat((goes_on, begins + self.inner), 1)
        return self.tokens.gather(1, at), self.node.gather(1, at), self.value.gather(1, at)

    def of(self, rows: Tensor) -> "Favoured":
        """Copy some rows."""
        return Favoured(self.tokens[rows], self.value[rows], self.node[rows], self.inner, self.held[rows])

    def plain(self, where: Tensor) -> "Favoured":
        """Return the same without gains in these rows."""
        return replace(self, value=self.value.masked_fill(where[:, None], 0.0))

    def after(self, chosen: Tensor, root: Tensor) -> tuple[Tensor, Tensor]:
        """Find the node behind the token that each row has got, and whether it is out of the term that it was in;
        shape (rows,)."""
        reached = self.node.masked_fill(self.tokens != chosen[:, None], -1)
        goes_on, begins = reached[:, : self.inner].amax(1), reached[:, self.inner :].amax(1)
        node = torch.where(goes_on >= 0, goes_on, torch.where(begins >= 0, begins, root))
        return node, goes_on < 0


class TermTables:
    """The tries of a lane's windows, and where each row stands in its own."""

    def __init__(self, windows: int, beams: int, device: torch.device, *, never: int) -> None:
        """`never` is a token that is never chosen."""
        rows = windows * beams
        self._mid_word: Tensor | None = None
        self._never = never
        self._placed: list[Trie | None] = [None] * windows
        self._tables = _empty_tables(windows, ROOTS, device)
        self._window = torch.arange(rows, device=device)[:, None] // beams
        self._node = torch.zeros(rows, dtype=torch.long, device=device)
        self._root = torch.zeros(rows, dtype=torch.long, device=device)

    @property
    def row_state(self) -> tuple[Tensor, ...]:
        """What moves with a row; shape (rows,)."""
        return self._node, self._root

    def restart(self, rows: Tensor) -> None:
        """Begin these rows anew."""
        self._node.index_fill_(0, rows, 0)
        self._root.index_fill_(0, rows, 0)

    def place(self, window: int, trie: Trie | None) -> bool:
        """Give a window its terms; True where the tables had to grow, so that recorded steps are void."""
        grown = trie is not None and trie.nodes > self._tables[0].shape[1]
        if grown:
            self._grow(trie.nodes if trie is not None else 0)
        if trie is not None and self._mid_word is None:
            self._mid_word = send(trie.mid_word, self._node.device)
        if trie is not None and self._placed[window] is not trie:
            for table, array in zip(self._tables, trie.arrays, strict=True):
                table[window, : trie.nodes] = send(array, table.device)
        elif trie is None and self._placed[window] is not None:
            self._tables[2][window] = 0
        self._placed[window] = trie
        return grown

    def move(self, source: int, target: int) -> None:
        """Put one window's terms in the place of another's; row_state is the caller's."""
        if self._placed[source] is not self._placed[target]:
            for table in self._tables:
                table[target] = table[source]
        self._placed[target] = self._placed[source]

    def widths(self, windows: int) -> Widths:
        """Room that the terms of the first windows need: few sizes, since each is a graph of its own."""
        found = [trie.widths for trie in self._placed[:windows] if trie is not None]
        return (_size(max(w[0] for w in found)), _size(max(w[1] for w in found))) if found else NO_TERMS

    def favoured(self, rows: Tensor | slice, widths: Widths) -> Favoured | None:
        """Find what these rows' terms favour now."""
        if widths == NO_TERMS:
            return None
        window, node, root = self._window[rows], self._node[rows], self._root[rows]
        token, first, count, value, held = self._tables
        found = []
        for at, width in ((node, widths[0]), (root, widths[1])):
            number = torch.arange(width, device=at.device)
            is_child = number < count[window, at[:, None]]
            found.append(torch.where(is_child, first[window, at[:, None]] + number, 0).long())
        nodes = torch.cat(found, 1)
        tokens = token[window, nodes].long().masked_fill(nodes == 0, self._never)
        return Favoured(tokens, value[window, nodes], nodes, widths[0], held[window[:, 0], node])

    def held(self, nodes: Tensor, rows: slice) -> Tensor:
        """Look up what is lost where the way breaks behind nodes of each row; (rows, any)."""
        return self._tables[4][self._window[rows], nodes]

    def enter(self, chosen: Tensor, nodes: Tensor, rows: slice) -> None:
        """Note the token that each row has got, and where it leads: 0 is out of all terms; shape (rows,)."""
        assert self._mid_word is not None  # noqa: S101 - there is a trie
        root = self._mid_word[chosen].long()
        self._node[rows], self._root[rows] = torch.where(nodes >= ROOTS, nodes, root), root

    def follow(self, chosen: Tensor, rows: slice, favoured: Favoured) -> tuple[Tensor, Tensor]:
        """Note the token that each row has got: whether it is out of the term that it was in, and whether a whole one
        ends with it; shape (rows,)."""
        assert self._mid_word is not None  # noqa: S101 - there is a trie
        root = self._mid_word[chosen].long()
        node, left = favoured.after(chosen, root)
        self._node[rows], self._root[rows] = node, root
        return left, (node >= ROOTS) & (self._tables[4][self._window[rows, 0], node] == 0)

    def _grow(self, nodes: int) -> None:
        old, room = self._tables, 1 << (nodes - 1).bit_length()
        self._tables = _empty_tables(len(self._placed), room, old[0].device)
        for table, before in zip(self._tables, old, strict=True):
            table[:, : before.shape[1]] = before


def _empty_tables(windows: int, nodes: int, device: torch.device) -> tuple[Tensor, ...]:
    types = (torch.int32, torch.int32, torch.int32, torch.float32, torch.float32)
    return tuple(torch.zeros((windows, nodes), dtype=dtype, device=device) for dtype in types)


def _size(width: int) -> int:
    """Round up to a power of four."""
    size = 16
    while size < width:
        size *= 4
    return size
