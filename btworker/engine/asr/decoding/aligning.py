"""Texts beside the sound of their windows as alignment.attend() reads them, recorded as graphs: of windows and texts of
any length, which are masked where others reach further. A pass is 900 kernels, for the two or three windows of a round.
"""

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from btworker.engine.asr.decoding.alignment import Attention, Text, middle_of_seven
from btworker.engine.asr.decoding.graphs import Graphs, least_of, sizes_within
from btworker.engine.asr.decoding.kept_sound import KeptSound
from btworker.engine.asr.decoding.memory import fetch, send
from btworker.engine.asr.decoding.network import Network

SIZES = (1, 2, 3, 4, 6, 8)
"""Windows of a graph; where there are fewer, the last one is read again."""
LENGTHS = (64, 80, 96, 112, 128, 160, 232)
"""Tokens of a graph, with the signs before them and the end: a text has 224 at most."""
MOST_HEADS = 32
"""Where it is not known which heads follow the sound, all of the upper half are read: a graph would take gigabytes."""
PLACE, SKIPPED, LENGTH, POSITIONS, TOKENS = range(5)
"""Columns of the table of texts: where the window sits, signs before the text but one, tokens in all, positions of the
sound."""


class Aligning:
    """The texts of a lane's windows."""

    def __init__(self, network: Network, graphs: Graphs, *, windows: int, end: int) -> None:
        """`end` is the token after all words."""
        self._network = network
        self._graphs = graphs
        self._end = end
        longest = network.dims.n_text_ctx
        self._sizes = sizes_within(SIZES, windows)
        self._lengths = sorted({min(length, longest) for length in LENGTHS})
        shape = (self._sizes[-1], TOKENS + self._lengths[-1])
        self._table = torch.zeros(shape, device=network.device)
        self._table[:, LENGTH] = self._table[:, POSITIONS] = 8

    @classmethod
    def where_it_can(cls, network: Network, graphs: Graphs | None, *, windows: int, end: int) -> "Aligning | None":
        """Make one where passes are recorded, and the heads are few."""
        if graphs is None or network.aligning_heads > MOST_HEADS:
            return None
        return cls(network, graphs, windows=windows, end=end)

    def record(self, sound: list[KeptSound]) -> None:
        """Record passes of all sizes, the largest first."""
        for size in reversed(self._sizes):
            for length in reversed(self._lengths):
                self._graphs.prepare(("align", size, length), partial(self._compute, sound, size, length))

    def attend(self, sound: list[KeptSound], places: Sequence[int], texts: Sequence[Text]) -> list[Attention] | None:
        """Read texts beside the sound of the windows in these places; None where they are too many or too long."""
        rows = [[*text.start, *text.tokens, self._end] for text in texts]
        most = max(map(len, rows))
        size, length = least_of(self._sizes, len(rows)), least_of(self._lengths, most)
        if size is None or length is None:
            return None
        facts = [
            (place, len(text.start) - 1, len(row), text.frames // 2, *row, *[self._end] * (most - len(row)))
            for place, text, row in zip(places, texts, rows, strict=True)
        ]
        table = torch.tensor(facts + [facts[-1]] * (size - len(facts)), dtype=torch.float32)
        self._table[:size, : TOKENS + most] = send(table, self._table.device)
        self._table[:size, TOKENS + most :] = self._end
        found = self._graphs.run(("align", size, length), partial(self._compute, sound, size, length))
        (matrix, probabilities, attention), is_there = fetch([part[: len(rows)].clone() for part in found])
        return [
            Attention(
                text,
                matrix[at, skipped : len(row) - 1, :positions],
                probabilities[at, skipped : skipped + len(text.tokens)],
                attention[at, :positions],
                is_there,
            )
            for at, (text, row, (_, skipped, _, positions, *_)) in enumerate(zip(texts, rows, facts, strict=True))
        ]

    def _compute(self, sound: list[KeptSound], size: int, length: int) -> tuple[Tensor, Tensor, Tensor]:
        """Compute where each token looks, (size, length, 1500), how probable it is, (size, length - 1), and the most
        that a token looks at each position, (size, 1500)."""
        table = self._table[:size, : TOKENS + length]
        at, skipped, counts, positions = (table[:, column].long() for column in range(TOKENS))
        tokens, scores = table[:, TOKENS:].long(), list[Tensor]()
        hidden, _ = self._network.read(tokens, (kept.of(at, self._network.dtype) for kept in sound), scores=scores)
        weights = _softmax(torch.cat(scores, dim=1), positions)
        number = torch.arange(length, device=at.device)
        is_word = (number >= skipped[:, None]) & (number < counts[:, None] - 1)
        attention = weights.mean(1).masked_fill(~is_word[:, :, None], 0.0).amax(1)
        matrix = _matrix(weights, number < counts[:, None], positions)
        return matrix, self._probabilities(hidden, tokens), attention

    def _probabilities(self, hidden: Tensor, tokens: Tensor) -> Tensor:
        """Find how probable each token is after those before it; one window after the other, since scores are large."""
        following = tokens[:, 1:].clamp(max=self._end - 1)
        found = []
        for states, after in zip(hidden[:, :-1], following, strict=True):
            logits = self._network.logits(states)[:, : self._end]
            found.append((logits.gather(1, after[:, None])[:, 0] - logits.logsumexp(-1)).exp())
        return torch.stack(found)


def _softmax(scores: Tensor, positions: Tensor) -> Tensor:
    """Weigh the positions of each window; (n, heads, tokens, 1500)."""
    beyond = torch.arange(scores.shape[-1], device=scores.device) >= positions[:, None]
    return scores.masked_fill(beyond[:, None, None], -torch.inf).softmax(-1)


def _matrix(weights: Tensor, is_there: Tensor, positions: Tensor) -> Tensor:
    """Compute alignment's matrix of each window; `is_there` marks the tokens of its text, (n, tokens)."""
    rows = is_there[:, None, :, None]
    count = is_there.sum(1)[:, None, None, None]
    mean = (weights * rows).sum(-2, keepdim=True) / count
    deviation = (((weights - mean) * rows).square().sum(-2, keepdim=True) / count).sqrt()
    return _median((weights - mean) / deviation, positions).mean(1)


def _median(x: Tensor, positions: Tensor) -> Tensor:
    """Compute alignment.median_of_seven() of each window's own positions; what is beyond them has no meaning."""
    length, last = x.shape[-1], positions[:, None] - 1
    at = torch.arange(-3, length + 3, device=x.device).abs()
    mirrored = torch.where(at > last, 2 * last - at, at).clamp(0, length - 1)
    padded = x.gather(-1, mirrored[:, None, None].expand(*x.shape[:-1], length + 6))
    middle = middle_of_seven([padded[..., shift : shift + length] for shift in range(7)])
    return torch.where(positions[:, None, None, None] <= 3, x, middle)  # there is nothing to mirror
