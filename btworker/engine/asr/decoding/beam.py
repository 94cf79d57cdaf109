"""Beam search over the windows of a lane, with openai-whisper's candidates, order and end.

Its bookkeeping is on the host: one look at the device a step, for the candidates of all windows at once, where
openai-whisper looks at each number by itself. What is before that look and what is after it are recorded as graphs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from btworker.engine.asr.decoding.favoured import Widths
from btworker.engine.asr.decoding.graphs import REACH, Recording, bucket
from btworker.engine.asr.decoding.lane import Lane
from btworker.engine.asr.decoding.memory import fetch, send
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.decoding.row_tokens import KnownRows, RowsOfRound, RowTokens
from btworker.engine.asr.decoding.rules import TokenRules
from btworker.engine.asr.decoding.seating import Start

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]
ZERO = np.float32(0)


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A text, or the beginning of one."""

    tokens: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    """Of each token."""
    sum: np.float32 = ZERO
    """Log-probability of the text."""
    score: np.float32 = ZERO
    """The same, with what terms gained and lost: by these, hypotheses are chosen."""
    pending: np.float32 = ZERO
    """What of the score is lost unless the text goes on in its term."""

    @property
    def settled(self) -> np.float32:
        """The score without what may be lost."""
        return self.score - self.pending

    @property
    def mean_score(self) -> float:
        """By which texts of different lengths are compared: a term that has only begun counts for nothing."""
        return float(self.settled) / len(self.tokens)


@dataclass(slots=True)
class Search:
    """One window's beams."""

    beams: list[Hypothesis]
    wanted: int
    """Texts that it looks for: as many as there are beams, less the one that terms have of their own."""
    ended: dict[tuple[int, ...], Hypothesis] = field(default_factory=dict)
    """Texts that came to their end, which counts in their log-probabilities."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A beam and a token that may come next in it."""

    score: np.float32
    beam: int
    token: int
    logprob: np.float32
    pending: np.float32
    """As a hypothesis has it."""

    @property
    def settled(self) -> np.float32:
        """The score without what may be lost."""
        return self.score - self.pending


@dataclass(frozen=True, slots=True)
class Choice:
    """The likeliest tokens of each row; shape (rows, beams + 1), twice as many where there are terms."""

    tokens: Integers
    logprobs: Floats
    gains: Floats
    """What terms add or take back; 0 where there are none."""
    pending: Floats
    """What of it is lost unless the text goes on in its term."""

    @classmethod
    def of(cls, likeliest: Tensor) -> "Choice":
        """Read them, (4, rows, any), on the CPU."""
        tokens, logprobs, gains, pending = likeliest.numpy()
        return cls(tokens.astype(np.int64), logprobs, gains, pending)


class BeamLane(Lane):
    """Room for `windows` windows of `beams` beams each."""

    def __init__(
        self,
        network: Network,
        rules: TokenRules,
        *,
        windows: int,
        beams: int,
        recording: Recording | None = None,
    ) -> None:
        super().__init__(network, rules, windows=windows, beams=beams, recording=recording)
        self._searches: list[Search | None] = [None] * windows
        self._kept = torch.zeros(2, windows * beams, dtype=torch.long, device=network.device)
        """What each row becomes: another one's past, and its next token."""

    def _begun(self, window: int, start: Start) -> None:
        super()._begun(window, start)
        wanted = self.beams if start.terms is None else self.beams - 1
        self._searches[window] = Search([Hypothesis()] * self.beams, wanted)

    def step(self, windows: int) -> None:
        """Decode one token more for each beam of the first `windows` windows."""
        widths, reach = self.terms.widths(windows), self.farthest(windows)
        chosen = self._run("choose", windows, reach, widths, partial(self._likeliest, widths=widths))
        (likeliest,), is_there = fetch([chosen])
        is_there()
        choice = Choice.of(likeliest[:, : windows * self.beams])
        kept = [candidate for window in range(windows) for candidate in self._advance(window, choice)]
        source = [row // self.beams * self.beams + beam.beam for row, beam in enumerate(kept)]
        becomes = torch.tensor([source, [candidate.token for candidate in kept]])
        self._kept[:, : len(kept)] = send(becomes, self._kept.device)
        self._run("follow", windows, reach, widths, partial(self._follow, widths=widths), growth=REACH)
        self.advanced(windows)

    def _run(
        self,
        name: str,
        windows: int,
        reach: int,
        widths: Widths,
        work: Callable[..., Any],
        *,
        growth: int | None = None,
    ) -> Any:
        """Do the device's part of a step, by a graph where there are some: of more windows, with a longer past."""
        if self.graphs is None:
            return work(windows, reach)
        longest, growth = self.network.dims.n_text_ctx, growth or self.growth
        sizes = bucket(windows, reach, room=self.windows, longest=longest, growth=growth)
        return self.graphs.run(("step", name, *sizes, widths), lambda: work(*sizes))

    def _likeliest(self, windows: int, reach: int, *, widths: Widths) -> Tensor:
        """Find what may come next in each row: tokens, log-probabilities, gains and what of these is pending, (4, rows,
        any), all of which float32 has as they are. Where there are terms: the likeliest with and without them."""
        rows = slice(0, windows * self.beams)
        favoured = self.terms.favoured(rows, widths)
        logprobs = self.rules.log_probabilities(self.logits(windows, reach), self.view(windows))
        if favoured is None:
            values, tokens = logprobs.topk(self.beams + 1)
            nothing = torch.zeros_like(values, dtype=torch.float32)
            return torch.stack((tokens.float(), values.float(), nothing, nothing))
        scores = favoured.scores(logprobs)
        tokens = torch.cat([some.topk(self.beams + 1).indices for some in (logprobs, scores)], 1)
        values = logprobs.gather(1, tokens)
        gains = (scores.gather(1, tokens) - values).nan_to_num(0.0)  # where both are -inf
        pending = self.terms.pending(tokens, rows, favoured)
        return torch.stack((tokens.float(), values.float(), gains.float(), pending.float()))

    def fetch_rows(self, windows: int, *, anyway: bool = False) -> RowsOfRound:
        """Find the texts of windows with as many ended texts as wanted, or whose beams are as long as they may be."""
        del anyway
        return KnownRows([window for window in range(windows) if self._is_over(window)], self._tokens_of)

    def _tokens_of(self, window: int) -> RowTokens:
        """Find the text with the best mean log-probability: ended ones, and beams where too few have ended."""
        search = self._search(window)
        found = dict(search.ended)
        for beam in np.argsort(np.array([beam.settled for beam in search.beams]))[::-1]:
            if len(found) >= search.wanted:
                break
            found[search.beams[beam].tokens] = search.beams[beam]
        texts = list(found.values())
        best = texts[int(np.argmax([text.mean_score for text in texts]))]
        return RowTokens(best.tokens, float(best.sum), best.logprobs, float(self.no_speech[window]))

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
        enough = len(search.ended) >= search.wanted
        length = len(search.beams[0].tokens)
        start = self.reach[window] - length
        return enough or length >= min(self.samples, self.longest - start)

    def _advance(self, window: int, choice: Choice) -> list[Candidate]:
        """Choose the window's next beams, out of the likeliest tokens for each; what ends is kept apart."""
        search = self._search(window)
        kept: list[Candidate] = []
        candidates = self._candidates(window, search, choice)
        for candidate in candidates if choice.tokens.shape[1] == self.beams + 1 else self._each(candidates, search):
            if candidate.token != self.rules.vocabulary.end:
                kept.append(candidate)
            elif len(search.ended) < search.wanted:
                parent = search.beams[candidate.beam]
                ended = replace(parent, sum=parent.sum + candidate.logprob, score=candidate.score, pending=ZERO)
                search.ended[parent.tokens] = ended
            if len(kept) == self.beams:
                break
        search.beams = [_longer(search.beams[candidate.beam], candidate) for candidate in kept]
        return kept

    def _candidates(self, window: int, search: Search, choice: Choice) -> list[Candidate]:
        """List what may come next in the window's beams, the best first."""
        first = window * self.beams
        beams = search.beams if search.beams[0].tokens else search.beams[:1]  # at first all are the same
        candidates = [
            Candidate(
                hypothesis.score + choice.logprobs[row, rank] + choice.gains[row, rank],
                row - first,
                int(choice.tokens[row, rank]),
                choice.logprobs[row, rank],
                choice.pending[row, rank],
            )
            for row, hypothesis in enumerate(beams, first)
            for rank in range(choice.tokens.shape[1])
        ]
        return sorted(candidates, key=lambda candidate: candidate.score, reverse=True)

    def _each(self, candidates: Sequence[Candidate], search: Search) -> Iterator[Candidate]:
        """Go through them, each once: as many beams as texts are wanted by what is best without the gains that may be
        lost, so that the search is that without terms until one is whole; then, of what goes on, by all gains."""
        end, going_on, seen = self.rules.vocabulary.end, 0, set()
        for one in sorted(candidates, key=lambda one: one.settled, reverse=True):
            if going_on == search.wanted:
                break
            if (one.beam, one.token) not in seen:
                seen.add((one.beam, one.token))
                going_on += one.token != end
                yield one
        yield from (one for one in candidates if one.token != end and (one.beam, one.token) not in seen)

    def _follow(self, windows: int, reach: int, *, widths: Widths) -> None:
        """Make the rows what their new beams are: another beam's past, and one token more; those of places that are
        empty stay as they are."""
        rows = windows * self.beams
        empty, chosen = self.done[:rows], self._kept[1, :rows]
        source = torch.where(empty, self._every_row[:rows], self._kept[0, :rows])
        favoured = self.terms.favoured(slice(0, rows), widths)
        for past in self.own:
            past[:, :rows, :, :reach] = past[:, source, :, :reach]
        self.tokens[:rows] = self.tokens[source]
        for tensor in (*self.history.tensors, *self.terms.row_state):
            tensor[:rows] = tensor[source]
        self.tokens[:rows].scatter_(1, self.length[:rows, None], chosen[:, None])
        self.length[:rows] += (~empty).long()
        self.view(windows).follow(chosen, self.rules.vocabulary)
        if favoured is not None:
            self.terms.follow(chosen, slice(0, rows), favoured.of(source))


def _longer(hypothesis: Hypothesis, candidate: Candidate) -> Hypothesis:
    return Hypothesis(
        tokens=(*hypothesis.tokens, candidate.token),
        logprobs=(*hypothesis.logprobs, float(candidate.logprob)),
        sum=hypothesis.sum + candidate.logprob,
        score=candidate.score,
        pending=candidate.pending,
    )
