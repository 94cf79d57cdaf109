"""Beam search over the windows of a lane, with openai-whisper's candidates, order and end.

Its bookkeeping is on the host (hypotheses.py): one look at the device a step, for the candidates of all windows at
once, where openai-whisper looks at each number by itself. What is before that look and what is after it are recorded as
graphs.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from btworker.engine.asr.decoding.favoured import NO_TERMS, Widths
from btworker.engine.asr.decoding.graphs import REACH, Recording, bucket
from btworker.engine.asr.decoding.hypotheses import Choice, Hypothesis, Search
from btworker.engine.asr.decoding.lane import Lane
from btworker.engine.asr.decoding.memory import fetch, send
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.decoding.row_tokens import KnownRows, RowsOfRound, RowTokens
from btworker.engine.asr.decoding.rules import TokenRules
from btworker.engine.asr.decoding.seating import Start


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
        self._kept = torch.zeros(3, windows * beams, dtype=torch.long, device=network.device)
        """What each row becomes: another one's past, its next token, and where that leads in a term."""

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
        end = self.rules.vocabulary.end
        kept = [one for w in range(windows) for one in self._search(w).advance(choice.of_rows(self._rows(w)), end)]
        source = [row // self.beams * self.beams + one.beam for row, one in enumerate(kept)]
        becomes = torch.tensor([source, [one.token for one in kept], [one.node for one in kept]])
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
        """Find what may come next in each row, as Choice has it, (5, rows, any); all of it float32 has as it is."""
        rows, most = slice(0, windows * self.beams), self.beams + 1
        favoured = self.terms.favoured(rows, widths)
        logprobs = self.rules.log_probabilities(self.logits(windows, reach), self.view(windows))
        values, tokens = logprobs.topk(most)
        nothing = torch.zeros_like(values, dtype=torch.float32)
        if favoured is None:
            return torch.stack((tokens.float(), values.float(), nothing, nothing, nothing))
        led, nodes, gains = favoured.likeliest(logprobs, most)
        tokens, nodes = torch.cat((led, tokens), 1), torch.cat((nodes, nothing.long()), 1)
        gains = torch.cat((gains, nothing), 1) - favoured.held[:, None]
        values = logprobs.gather(1, tokens).masked_fill(_repeated(tokens), -torch.inf)
        pending = self.terms.held(nodes, rows)
        return torch.stack((tokens.float(), values.float(), gains, pending, nodes.float()))

    def fetch_rows(self, windows: int, *, anyway: bool = False) -> RowsOfRound:
        """Find the texts of windows with as many ended texts as wanted, or whose beams are as long as they may be."""
        del anyway
        return KnownRows([window for window in range(windows) if self._is_over(window)], self._tokens_of)

    def _tokens_of(self, window: int) -> RowTokens:
        best = self._search(window).best()
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
        length = len(search.beams[0].tokens)
        start = self.reach[window] - length
        return search.has_enough or length >= min(self.samples, self.longest - start)

    def _follow(self, windows: int, reach: int, *, widths: Widths) -> None:
        """Make the rows what their new beams are: another beam's past, and one token more; those of places that are
        empty stay as they are."""
        rows = windows * self.beams
        empty, chosen = self.done[:rows], self._kept[1, :rows]
        source = torch.where(empty, self._every_row[:rows], self._kept[0, :rows])
        for past in self.own:
            past[:, :rows, :, :reach] = past[:, source, :, :reach]
        self.tokens[:rows] = self.tokens[source]
        for tensor in (*self.history.tensors, *self.terms.row_state):
            tensor[:rows] = tensor[source]
        self.tokens[:rows].scatter_(1, self.length[:rows, None], chosen[:, None])
        self.length[:rows] += (~empty).long()
        self.view(windows).follow(chosen, self.rules.vocabulary)
        if widths != NO_TERMS:
            self.terms.enter(chosen, self._kept[2, :rows], slice(0, rows))


def _repeated(tokens: Tensor) -> Tensor:
    """Find the tokens that stand further to the left in their row; (rows, any)."""
    return (tokens[:, :, None] == tokens[:, None, :]).tril(-1).any(2)
