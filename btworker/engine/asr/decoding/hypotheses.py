"""The texts that a beam search follows in one window, and how it chooses among what may come next: openai-whisper's
candidates, order and end. Runs on the host, on a few numbers of each row.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from torch import Tensor

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
    has_term: bool = False
    """Whether a whole term is in it."""

    @property
    def settled(self) -> np.float32:
        """The score without what may be lost."""
        settled: np.float32 = self.score - self.pending
        return settled

    @property
    def mean_score(self) -> float:
        """By which texts of different lengths are compared: a term that has only begun counts for nothing."""
        return float(self.settled) / len(self.tokens)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A beam and a token that may come next in it."""

    score: np.float32
    beam: int
    token: int
    logprob: np.float32
    pending: np.float32
    """As a hypothesis has it."""
    node: int
    """Of the term that goes on or begins with the token, or 0."""

    @property
    def ends_a_term(self) -> bool:
        """Whether a term is whole with it."""
        return self.node > 0 and not self.pending

    def after(self, hypothesis: Hypothesis) -> Hypothesis:
        """Return what the hypothesis becomes with the token."""
        return Hypothesis(
            tokens=(*hypothesis.tokens, self.token),
            logprobs=(*hypothesis.logprobs, float(self.logprob)),
            sum=hypothesis.sum + self.logprob,
            score=self.score,
            pending=self.pending,
            has_term=hypothesis.has_term or self.ends_a_term,
        )


@dataclass(frozen=True, slots=True)
class Choice:
    """The likeliest tokens of each row: beams + 1, and where there are terms as many that go on in one and that begin
    one; shape (rows, any). Log-probabilities of tokens that stand there twice are -inf but for the first."""

    tokens: Integers
    logprobs: Floats
    gains: Floats
    """What terms add or take back; 0 where there are none."""
    pending: Floats
    """What of it is lost unless the text goes on in its term."""
    nodes: Integers
    """Of the terms; 0 where there is none."""

    @classmethod
    def of(cls, likeliest: Tensor) -> "Choice":
        """Read them, (5, rows, any), on the CPU."""
        tokens, logprobs, gains, pending, nodes = likeliest.numpy()
        return cls(tokens.astype(np.int64), logprobs, gains, pending, nodes.astype(np.int64))

    def of_rows(self, rows: slice) -> "Choice":
        """View some rows."""
        return Choice(self.tokens[rows], self.logprobs[rows], self.gains[rows], self.pending[rows], self.nodes[rows])

    def candidate(self, at: int, scores: Floats) -> Candidate:
        """Read one of them, counted over all rows; `scores` are those of all."""
        beam, rank = divmod(at, self.tokens.shape[1])
        token, node = int(self.tokens[beam, rank]), int(self.nodes[beam, rank])
        return Candidate(scores[at], beam, token, self.logprobs[beam, rank], self.pending[beam, rank], node)


@dataclass(slots=True)
class Search:
    """One window's beams."""

    beams: list[Hypothesis]
    wanted: int
    """Texts that it looks for: as many as there are beams, less the last one where terms have it for themselves."""
    ended: dict[tuple[int, ...], Hypothesis] = field(default_factory=dict)
    """Texts that came to their end, which counts in their log-probabilities."""

    @property
    def has_enough(self) -> bool:
        """Whether as many texts as wanted have ended."""
        return len(self.ended) >= self.wanted

    def advance(self, choice: Choice, end: int) -> list[Candidate]:
        """Choose the next beams out of the likeliest tokens for each; what ends is kept apart."""
        kept: list[Candidate] = []
        for candidate in self._candidates(choice, end):
            if candidate.token != end:
                kept.append(candidate)
            elif not self.has_enough:
                parent = self.beams[candidate.beam]
                ended = replace(parent, sum=parent.sum + candidate.logprob, score=candidate.score, pending=ZERO)
                self.ended[parent.tokens] = ended
            if len(kept) == len(self.beams):
                break
        self.beams = [candidate.after(self.beams[candidate.beam]) for candidate in kept]
        return kept

    def best(self) -> Hypothesis:
        """Find the text with the best mean log-probability: ended ones, and beams where too few have ended."""
        found = dict(self.ended)
        going_on = [one for beam, one in enumerate(self.beams) if self._counts(beam)]
        for at in np.argsort(np.array([one.settled for one in going_on]))[::-1]:
            if len(found) >= self.wanted:
                break
            found[going_on[at].tokens] = going_on[at]
        texts = list(found.values())
        return texts[int(np.argmax([text.mean_score for text in texts]))]

    def _counts(self, beam: int) -> bool:
        """Tell whether a beam is one of those wanted. The one for terms is not until a term is whole in it: what comes
        of it would make a wider search, with other texts, of what only began."""
        return beam < self.wanted or self.beams[beam].has_term

    def _candidates(self, choice: Choice, end: int) -> Iterator[Candidate]:
        """List what may come next, the best first."""
        beams = self.beams if self.beams[0].tokens else self.beams[:1]  # at first all are the same
        before = np.array([hypothesis.score for hypothesis in beams], dtype=np.float32)[:, None]
        scores = (before + choice.logprobs[: len(beams)] + choice.gains[: len(beams)]).ravel()
        order = _descending(scores)
        if self.wanted == len(self.beams):
            return (choice.candidate(at, scores) for at in order)
        settled = (scores - choice.pending[: len(beams)].ravel())[order]
        by_settled = (choice.candidate(order[at], scores) for at in _descending(settled))
        return self._favouring(by_settled, (choice.candidate(at, scores) for at in order), end)

    def _favouring(
        self, by_settled: Iterator[Candidate], by_score: Iterator[Candidate], end: int
    ) -> Iterator[Candidate]:
        """List as many that go on as texts are wanted, the best without the gains that may be lost, so that the search
        is that without terms until one is whole; then, of what goes on, the best by all gains."""
        going_on, seen = 0, set()
        for one in by_settled:
            if going_on == self.wanted:
                break
            if self._counts(one.beam) or one.ends_a_term:
                seen.add((one.beam, one.token))
                going_on += one.token != end
                yield one
        yield from (one for one in by_score if one.token != end and (one.beam, one.token) not in seen)


def _descending(numbers: Floats) -> list[int]:
    """Order numbers from the largest down; those that are equal stay as they are."""
    order: list[int] = np.argsort(-numbers, kind="stable").tolist()
    return order
