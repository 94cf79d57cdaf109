"""The host's part of a beam search, on small languages of random probabilities: with terms that are never whole it is
the search without them, step by step.
"""

import random

import numpy as np
import pytest
from numpy.typing import NDArray

from btworker.engine.asr.decoding.hypotheses import Choice, Floats, Hypothesis, Search

pytestmark = pytest.mark.speech

WORDS, BEAMS, LONGEST, BONUS = 24, 5, 14, 2.0
END = WORDS - 1
Terms = frozenset[int]
"""Words that each begin a term, of which the second word never comes."""


def logprobs(tokens: tuple[int, ...], seed: int) -> Floats:
    """Those of the word that follows: nearly even, so that many texts are as likely as each other."""
    numbers = np.random.default_rng([seed, *tokens]).normal(size=WORDS)
    numbers[END] += 0.1 * len(tokens) if tokens else -50  # no text is empty
    return np.float32(1) * (numbers - np.log(np.exp(numbers).sum())).astype(np.float32)


def choice(search: Search, seed: int, terms: Terms | None) -> Choice:
    """What a lane finds for these beams: where there are terms, the words that begin one stand before all others."""
    rows = [_row(beam.tokens, logprobs(beam.tokens, seed), len(search.beams) + 1, terms) for beam in search.beams]
    tokens, values, gains, pending, nodes = (np.array(some) for some in zip(*rows, strict=True))
    return Choice(tokens, values.astype(np.float32), gains.astype(np.float32), pending.astype(np.float32), nodes)


def _row(text: tuple[int, ...], known: Floats, most: int, terms: Terms | None) -> list[NDArray[np.generic]]:
    order = np.argsort(-known, kind="stable")
    plain = order[:most]
    led = np.array([token for token in order if token in (terms or ())][:most], dtype=np.int64)
    tokens = np.concatenate((led, plain))
    values = known[tokens].copy()
    values[len(led) :][np.isin(plain, led)] = -np.inf
    begins = np.arange(len(tokens)) < len(led)
    held = BONUS if terms and text and text[-1] in terms else 0.0
    return [tokens, values, begins * BONUS - held, begins * BONUS, begins * 2]


@pytest.mark.parametrize("number", [0, 1, 6, 20])
@pytest.mark.parametrize("seed", range(12))
def test_terms_that_only_begin_change_no_search(seed: int, number: int) -> None:
    """Its beams, the texts that end and the best one, after every step: what comes of the beam that terms have for
    themselves is in no other one's way."""
    terms = frozenset(random.Random(seed).sample(range(END), number))
    plain, favouring = Search([Hypothesis()] * BEAMS, BEAMS), Search([Hypothesis()] * (BEAMS + 1), BEAMS)
    for _ in range(LONGEST):
        plain.advance(choice(plain, seed, None), END)
        favouring.advance(choice(favouring, seed, terms), END)
        assert [one.tokens for one in favouring.beams[:BEAMS]] == [one.tokens for one in plain.beams]
        assert favouring.ended.keys() == plain.ended.keys()
        assert favouring.best().tokens == plain.best().tokens
        if plain.has_enough:
            break


def test_a_whole_term_comes_before_others() -> None:
    """From the beam that is the terms' own: what it gained stays, and its text is one of those wanted."""
    search = Search([Hypothesis()] * 3, 2)
    first = Choice(
        np.array([[7, 1, 2, 3]] * 3),
        np.array([[-5.0, -1.0, -1.1, -9.0]] * 3, dtype=np.float32),
        np.array([[4.0, 0.0, 0.0, 0.0]] * 3, dtype=np.float32),
        np.array([[4.0, 0.0, 0.0, 0.0]] * 3, dtype=np.float32),
        np.array([[2, 0, 0, 0]] * 3),
    )
    search.advance(first, END)
    assert [(one.tokens, one.has_term) for one in search.beams] == [((1,), False), ((2,), False), ((7,), False)]
    tokens = np.array([[1, 2, 3, 4], [1, 2, 3, 4], [8, 1, 2, 3]])
    values = np.array([[-3.0, -3.1, -3.2, -3.3]] * 2 + [[-0.1, -2.0, -2.1, -2.2]], dtype=np.float32)
    gains = np.array([[0.0] * 4] * 2 + [[4.0, -4.0, -4.0, -4.0]], dtype=np.float32)
    nodes = np.array([[0] * 4] * 2 + [[3, 0, 0, 0]])
    search.advance(Choice(tokens, values, gains, np.zeros_like(gains), nodes), END)
    assert search.beams[0].tokens == (7, 8)
    assert search.beams[0].has_term
    assert float(search.beams[0].settled) == pytest.approx(2.9)
    assert search.best().tokens == (7, 8)
