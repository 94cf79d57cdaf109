"""Beam search over the windows of a lane, with openai-whisper's candidates, order and end.

Its bookkeeping is on the host: one look at the device a step, for the candidates of all windows at once, where
openai-whisper looks at each number by itself.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from btworker.engine.asr.decoding.lane import Lane, RowTokens, Start
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.decoding.rules import TokenRules

Texts = list[tuple[int, ...]]
Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


@dataclass(slots=True)
class Search:
    """One window's beams."""

    texts: Texts
    """The tokens of each beam so far."""
    sums: list[np.float32]
    """Log-probability of each."""
    ended: dict[tuple[int, ...], float] = field(default_factory=dict)
    """Texts that came to their end, and their log-probabilities."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A beam and a token that may come next in it."""

    sum: np.float32
    beam: int
    token: int


class BeamLane(Lane):
    """Room for `windows` windows of `beams` beams each."""

    def __init__(self, network: Network, rules: TokenRules, *, windows: int, beams: int) -> None:
        super().__init__(network, rules, windows=windows, beams=beams)
        self._searches: list[Search | None] = [None] * windows

    def restart(self, window: int, start: Start) -> None:
        """Begin a window anew."""
        super().restart(window, start)
        self._searches[window] = Search([()] * self.beams, [np.float32(0)] * self.beams)

    def step(self, windows: int) -> None:
        """Decode one token more for each beam of the first `windows` windows."""
        logprobs = self.rules.log_probabilities(self.logits(windows, self.farthest(windows)), self.view(windows))
        values, tokens = logprobs.topk(self.beams + 1)
        best, ids = values.float().cpu().numpy(), tokens.cpu().numpy()
        kept: list[Candidate] = []
        for window in range(windows):
            first = window * self.beams
            kept += self._advance(window, best[first : first + self.beams], ids[first : first + self.beams])
        self._follow(windows, kept)
        self.advanced(windows)

    def finished(self, windows: int) -> list[int]:
        """Windows with as many ended texts as beams, or whose beams are as long as they may be."""
        return [window for window in range(windows) if self._is_over(window)]

    def tokens_of(self, window: int) -> RowTokens:
        """Find the text with the best mean log-probability: ended ones, and beams where too few have ended."""
        search = self._search(window)
        found = dict(search.ended)
        for beam in np.argsort(np.array(search.sums))[::-1]:
            if len(found) >= self.beams:
                break
            found[search.texts[beam]] = float(search.sums[beam])
        texts = list(found)
        best = texts[int(np.argmax([found[text] / len(text) for text in texts]))]
        return RowTokens(best, found[best])

    def move(self, source: int, target: int) -> None:
        """Put one window in the place of another, which is given up."""
        super().move(source, target)
        self._searches[target] = self._searches[source]

    def _search(self, window: int) -> Search:
        search = self._searches[window]
        assert search is not None  # noqa: S101 - every window in use was started
        return search

    def _is_over(self, window: int) -> bool:
        search = self._search(window)
        enough = len(search.ended) >= self.beams
        length = len(search.texts[0])
        start = self.reach[window] - length
        return enough or length >= min(self.samples, self.longest - start)

    def _advance(self, window: int, best: Floats, ids: Integers) -> list[Candidate]:
        """Choose the window's next beams, out of beams + 1 tokens for each; what ends is kept apart."""
        search = self._search(window)
        beams = range(self.beams if search.texts[0] else 1)  # at first all are the same
        candidates = sorted(
            (
                Candidate(search.sums[beam] + best[beam, rank], beam, int(ids[beam, rank]))
                for beam in beams
                for rank in range(self.beams + 1)
            ),
            key=lambda candidate: candidate.sum,
            reverse=True,
        )
        kept: list[Candidate] = []
        for candidate in candidates:
            if candidate.token != self.rules.vocabulary.end:
                kept.append(candidate)
            elif len(search.ended) < self.beams:
                search.ended[search.texts[candidate.beam]] = float(candidate.sum)
            if len(kept) == self.beams:
                break
        search.texts = [(*search.texts[candidate.beam], candidate.token) for candidate in kept]
        search.sums = [candidate.sum for candidate in kept]
        return kept

    def _follow(self, windows: int, kept: list[Candidate]) -> None:
        """Make the rows what their new beams are: another beam's past, and one token more."""
        rows = windows * self.beams
        device = self.network.device
        source = torch.tensor([row // self.beams * self.beams + beam.beam for row, beam in enumerate(kept)]).to(device)
        chosen = torch.tensor([candidate.token for candidate in kept]).to(device)
        reach = self.farthest(windows)
        for past in self.own:
            past[:, :rows, :, :reach] = past[:, source, :, :reach]
        self.tokens[:rows] = self.tokens[source]
        for tensor in self.history.tensors:
            tensor[:rows] = tensor[source]
        self.tokens[:rows].scatter_(1, self.length[:rows, None], chosen[:, None])
        self.length[:rows] += 1
        self.view(windows).follow(chosen, self.rules.vocabulary)
