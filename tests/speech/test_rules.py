"""The vectorised rules allow and forbid exactly what openai-whisper's logit filters do, whatever was said before."""

from functools import lru_cache
from typing import Any

import pytest
import torch
from whisper.decoding import ApplyTimestampRules, SuppressBlank, SuppressTokens
from whisper.tokenizer import get_tokenizer

from btworker.engine.asr.decoding.rules import History, TokenRules, Vocabulary

pytestmark = pytest.mark.speech

SIZE = 51865


@lru_cache
def tokenizer() -> Any:
    """openai-whisper's, once its file was read (conftest.py)."""
    return get_tokenizer(multilingual=True, num_languages=99, language="en", task="transcribe")


@lru_cache
def vocabulary() -> Vocabulary:
    """Its parts."""
    return Vocabulary.of(tokenizer())


def texts(count: int, length: int, *, seed: int) -> torch.Tensor:
    """Words, signs and timestamps that never go back, as decoding may say them; shape (count, length)."""
    generator = torch.Generator().manual_seed(seed)
    said = torch.randint(0, vocabulary().end, (count, length), generator=generator)
    stamps = torch.randint(0, 300, (count, length), generator=generator).cumsum(1).clamp(max=1500)
    kinds = torch.rand((count, length), generator=generator)
    said = torch.where(kinds < 0.5, stamps + vocabulary().timestamps, said)
    return torch.where(kinds > 0.95, vocabulary().end + 2, said)


def theirs(logits: torch.Tensor, said: torch.Tensor, *, timed: bool) -> torch.Tensor:
    """openai-whisper's log-probabilities after this text."""
    start = torch.tensor([tokenizer().sot_sequence]).expand(len(said), -1)
    tokens, begin = torch.cat([start, said], dim=1), start.shape[1]
    filters = [SuppressBlank(tokenizer(), begin), SuppressTokens(vocabulary().suppressed)]
    if timed:
        filters.append(ApplyTimestampRules(tokenizer(), begin, vocabulary().latest_first))
    logits = logits.clone()
    for rule in filters:
        rule.apply(logits, tokens)
    return logits.log_softmax(-1)


@pytest.mark.parametrize("timed", [True, False], ids=["timed", "untimed"])
@pytest.mark.parametrize("liked", [-4.0, 0.0, 6.0], ids=["text", "even", "timestamps"])
def test_what_is_allowed_is_what_whisper_allows(timed: bool, liked: float) -> None:
    """After every beginning of 32 texts; and the best token and its log-probability are theirs."""
    rows, length = 32, 9
    said = texts(rows, length, seed=int(liked) + 10)
    rules = TokenRules(vocabulary(), SIZE, torch.device("cpu"))
    history = History.empty(rows, torch.device("cpu"))
    history.timed[:] = timed
    generator = torch.Generator().manual_seed(7)
    for step in range(length + 1):
        logits = torch.randn((rows, SIZE), generator=generator) * 3
        logits[:, vocabulary().timestamps :] += liked
        wanted = theirs(logits, said[:, :step], timed=timed)
        torch.testing.assert_close(rules.log_probabilities(logits.clone(), history), wanted, atol=1e-4, rtol=0)
        best, logprob = rules.best(logits.clone(), history)
        assert best.tolist() == wanted.argmax(-1).tolist()
        torch.testing.assert_close(logprob, wanted.max(-1).values, atol=1e-4, rtol=0)
        if step < length:
            history.follow(said[:, step], vocabulary())


def test_rows_that_begin_anew_forget() -> None:
    """One row of several starts its next text; the others go on."""
    rules = TokenRules(vocabulary(), SIZE, torch.device("cpu"))
    history = History.empty(2, torch.device("cpu"))
    history.timed[:] = True
    said = texts(2, 4, seed=3)
    for step in range(4):
        history.follow(said[:, step], vocabulary())
    history.restart(torch.tensor([0]))
    logits = torch.randn((2, SIZE), generator=torch.Generator().manual_seed(1))
    found = rules.log_probabilities(logits.clone(), history)
    torch.testing.assert_close(found[:1], theirs(logits[:1], said[:1, :0], timed=True), atol=1e-4, rtol=0)
    torch.testing.assert_close(found[1:], theirs(logits[1:], said[1:], timed=True), atol=1e-4, rtol=0)
