"""Rounds that are queued before the one before them is looked at, as on a GPU: the same texts, and never a device that
waits for the host.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from btworker.engine.asr.decoding import decoder as decoding
from btworker.engine.asr.decoding import lane as lanes
from btworker.engine.asr.decoding import languages
from btworker.engine.asr.decoding.decoder import Decoder
from btworker.engine.asr.decoding.lane import Lane
from btworker.engine.asr.decoding.requests import Decoded, LanguageRequest, TextRequest
from tests.slices import FULL, slice_of
from tests.speech.decoder_cases import SEEDS, all_of, cases
from tests.speech.lively_model import Pair, lively_pair

pytestmark = [pytest.mark.speech, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def pair() -> Pair:
    """One set of weights."""
    seed = slice_of(list(SEEDS), 1, "rounds ahead")[0]
    return lively_pair(seed=seed, ends=SEEDS[seed])


@pytest.fixture
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds of as many steps, and one ahead."""
    for numbers in (decoding.STEPS_PER_ROUND, decoding.ROUNDS_AHEAD, decoding.ENCODE_BATCH):
        monkeypatch.setitem(numbers, "cpu", numbers["cuda"])


def requests_of(pair: Pair) -> list[TextRequest]:
    """Windows some of which are decoded again, at their end or once they loop."""
    answers: Sequence[tuple[Callable[[Decoded], bool], Callable[[str], bool] | None]] = (
        (lambda _: False, None),
        (lambda decoded: decoded.temperature < 0.5, None),
        (lambda _: True, lambda text: len(text) % 2 == 0),
        (lambda decoded: len(decoded.tokens) % 2 == 0, lambda _: False),
    )
    return [
        replace(
            window.request(pair.tokenizer, temperatures=(0.0, 0.4, 0.8), seed=f"{number}", unacceptable=answer),
            hopeless=hopeless,
        )
        for number, (window, (answer, hopeless)) in enumerate(
            zip(cases(seed=5)[: 16 if FULL else 8], [*answers, *answers, *answers, *answers], strict=False)
        )
    ]


def facts(decoded: Decoded) -> tuple[Any, ...]:
    """All that must not change."""
    return decoded.tokens, decoded.temperature, round(decoded.avg_logprob, 4), round(decoded.no_speech_prob, 5)


@pytest.mark.parametrize("batch_size", [1, 3, 8] if FULL else [3])
def test_texts_are_those_of_rounds_that_are_looked_at_at_once(
    pair: Pair, batch_size: int, request: pytest.FixtureRequest
) -> None:
    """With fallbacks, and windows that are given up at every moment of their neighbours' decoding."""
    requests = requests_of(pair)
    wanted = [facts(one) for one in all_of(Decoder(pair.network, pair.tokenizer, batch_size=batch_size), requests)]
    assert len({temperature for _, temperature, *_ in wanted}) > 1
    request.getfixturevalue("as_on_a_gpu")
    decoder = Decoder(pair.network, pair.tokenizer, batch_size=batch_size)
    assert [facts(one) for one in all_of(decoder, requests)] == wanted
    tickets = [decoder.submit(one) for one in requests]
    for given_up in tickets[::3]:
        decoder.wait(tickets[-1:], at_most_s=0)
        given_up.cancel()
    kept = [number for number in range(len(requests)) if number % 3]
    while waiting := [tickets[number] for number in kept if not tickets[number].done]:
        decoder.wait(waiting)
    assert [facts(tickets[number].answer) for number in kept] == [wanted[number] for number in kept]


class Watched:
    """Steps that were made, and how many more between what is fetched and the first look at it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.made = 0
        self.late: list[int] = []
        self._fetch, step = lanes.fetch, Lane.step

        def counted(lane: Lane, windows: int) -> None:
            self.made += 1
            step(lane, windows)

        patch.setattr(Lane, "step", counted)
        for module in (lanes, languages):
            patch.setattr(module, "fetch", self.fetch)

    def fetch(self, tensors: Sequence[torch.Tensor]) -> Any:
        """See memory.fetch."""
        copies, is_there = self._fetch(tensors)
        until, is_seen = self.made, list[bool]()

        def look() -> None:
            if not is_seen:
                self.late.append(self.made - until)
            is_seen.append(True)
            is_there()

        return copies, look


@pytest.mark.usefixtures("as_on_a_gpu")
def test_the_device_has_a_round_to_make_while_the_host_looks_at_one(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came of a round is asked for after all steps of the next one are queued, and before those of a third."""
    watched = Watched(monkeypatch)
    all_of(Decoder(pair.network, pair.tokenizer, batch_size=3), requests_of(pair)[:4])
    assert watched.late and set(watched.late) == {decoding.STEPS_PER_ROUND["cuda"]}


@pytest.mark.usefixtures("as_on_a_gpu")
def test_languages_are_looked_at_once_there_are_steps_to_make(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of two passes beside a text that is being decoded; in the round in which they were asked for."""
    watched = Watched(monkeypatch)
    monkeypatch.setitem(decoding.ENCODE_BATCH, "cpu", 2)
    decoder = Decoder(pair.network, pair.tokenizer, batch_size=3)
    first, *others = cases(seed=5)[:4]
    text = decoder.submit(first.request(pair.tokenizer))
    decoder.wait([text], at_most_s=0)
    assert watched.late == []
    tickets = [decoder.detect_language(LanguageRequest(one.mel)) for one in others]
    decoder.wait(tickets, at_most_s=0)
    assert watched.late == [decoding.STEPS_PER_ROUND["cuda"]] * 2
    for ticket, window in zip(tickets, others, strict=True):
        _, probable = pair.whisper.detect_language(window.mel, pair.tokenizer)
        assert ticket.answer.languages == pytest.approx(probable, abs=1e-5)
