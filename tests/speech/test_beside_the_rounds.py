"""Several jobs at once on a CPU: one makes the rounds of all, the others encode meanwhile, as many as there are
cores."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import TypeVar

import pytest
import torch

from btworker.engine.asr.decoding.decoder import Decoder
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.decoding.places import TextEntry, taken
from btworker.engine.asr.decoding.requests import Encoded, LanguageRequest
from btworker.engine.cooperate.ticket import Ticket
from btworker.engine.stack.cores import Cores, use_cores
from tests.speech.decoder_cases import SEEDS, all_of, cases
from tests.speech.lively_model import Pair, lively_pair

pytestmark = [pytest.mark.speech, pytest.mark.timeout(120)]

CORES = 2
T = TypeVar("T")


@pytest.fixture(scope="module")
def pair() -> Pair:
    """One set of weights."""
    return lively_pair(seed=3, ends=SEEDS[3])


@pytest.fixture
def decoder(pair: Pair) -> Iterator[Decoder]:
    """A decoder of four places on two cores; new threads take the number that was set last."""
    yield Decoder(pair.network, pair.tokenizer, batch_size=4, cores=Cores(CORES))
    use_cores(1)


def at_once(*jobs: Callable[[], T]) -> list[T]:
    """What each returns, in a thread of its own."""
    found: dict[int, T] = {}

    def run(number: int) -> None:
        found[number] = jobs[number]()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return [found[number] for number in range(len(jobs))]


class Watched:
    """Which threads are in the encoder, how many are there at once, and how many cores each pass takes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cores: dict[str, list[int]] = {"encode": [], "step": []}
        self.threads: set[int] = set()
        self.most = 0
        self.inside = 0
        """Threads in the encoder now."""
        self.may_leave: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        for name in self.cores:
            monkeypatch.setattr(Network, name, self._noted(name, getattr(Network, name)))

    def _noted(self, name: str, method: Callable[..., object]) -> Callable[..., object]:
        def noted(*args: object, **more: object) -> object:
            self.cores[name].append(torch.get_num_threads())
            if name == "step":
                return method(*args, **more)
            with self._lock:
                self.threads.add(threading.get_ident())
                self.inside += 1
                self.most = max(self.most, self.inside)
            try:
                self.may_leave()
                return method(*args, **more)
            finally:
                with self._lock:
                    self.inside -= 1

        return noted


def test_jobs_at_once_have_the_texts_that_they_have_alone(
    pair: Pair, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three of them on two cores; two windows are in the encoder at once, never three, each on one core."""
    requests = [one.request(pair.tokenizer) for one in cases(seed=1)[:6]]
    alone = [one.tokens for one in all_of(Decoder(pair.network, pair.tokenizer, batch_size=4), requests)]
    watched, met = Watched(monkeypatch), threading.Barrier(CORES)

    def first_two_meet() -> None:
        if not met.broken and len(watched.cores["encode"]) <= CORES:
            met.wait(60)

    watched.may_leave = first_two_meet
    there = threading.Barrier(3)

    def job() -> list[tuple[int, ...]]:
        there.wait(60)
        return [one.tokens for one in all_of(decoder, requests)]

    assert at_once(job, job, job) == [alone] * 3
    assert watched.most == CORES
    assert len(watched.cores["encode"]) == 3 * len(requests), "no window is encoded twice"


def test_a_job_alone_encodes_on_all_cores_and_tries_steps_on_fewer(
    pair: Pair, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It encodes a window, then makes a round, in turns: the first text does not wait for the encoder to fill all
    places. Of its steps the first are by one core and by two (tests/unit/test_trials.py)."""
    watched = Watched(monkeypatch)
    all_of(decoder, [one.request(pair.tokenizer) for one in cases(seed=1)[:3]])
    assert {*watched.cores["encode"]} == {CORES}
    assert {*watched.cores["step"]} == {1, CORES}


def test_languages_are_detected_beside_the_rounds(pair: Pair, decoder: Decoder) -> None:
    """The same as without cores."""
    requests = [LanguageRequest(one.mel) for one in cases(seed=1)[:4]]

    def detected(by: Decoder) -> list[Encoded]:
        tickets = [by.detect_language(request) for request in requests]
        while left := [ticket for ticket in tickets if not ticket.done]:
            by.wait(left)
        return [ticket.answer for ticket in tickets]

    alone = [one.languages for one in detected(Decoder(pair.network, pair.tokenizer, batch_size=4))]
    found = at_once(*[lambda: [one.languages for one in detected(decoder)]] * 2)
    for languages in (one for job in found for one in zip(job, alone, strict=True)):
        assert languages[0] == pytest.approx(languages[1], rel=1e-4)


def test_a_window_behind_which_others_are_encoded_is_encoded(pair: Pair) -> None:
    """Those whose language was detected are encoded already, and may fill every place: the one before them is seated
    first, and all would wait for it for ever."""
    first, *others = (one.request(pair.tokenizer) for one in cases(seed=1)[:3])
    alone = [one.tokens for one in all_of(Decoder(pair.network, pair.tokenizer, batch_size=2), [first, *others])]
    with torch.inference_mode():
        encoded = [replace(one, sound=pair.network.encode(one.sound[None])[0], is_encoded=True) for one in others]
    decoder = Decoder(pair.network, pair.tokenizer, batch_size=2, cores=Cores(CORES))
    tickets = [decoder.submit(one) for one in (first, *encoded)]
    end = time.monotonic() + 60
    while (left := [ticket for ticket in tickets if not ticket.done]) and time.monotonic() < end:
        decoder.wait(left, at_most_s=1)
    use_cores(1)
    assert not left, "they wait for each other"
    assert [ticket.answer.tokens for ticket in tickets] == alone


def test_a_window_that_cannot_be_encoded_fails_alone(
    pair: Pair, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are decoded, and the decoder has nothing left of it."""
    encode, passes = Network.encode, count(1)

    def second_fails(network: Network, mel: torch.Tensor) -> torch.Tensor:
        if next(passes) == 2:
            raise ValueError("broken")
        return encode(network, mel)

    monkeypatch.setattr(Network, "encode", second_fails)
    tickets = [decoder.submit(one.request(pair.tokenizer)) for one in cases(seed=1)[:4]]
    while left := [ticket for ticket in tickets if not ticket.done]:
        decoder.wait(left)
    with pytest.raises(ValueError, match="broken"):
        _ = tickets[1].answer
    assert all(tickets[other].answer.tokens for other in (0, 2, 3))
    assert all_of(decoder, [cases(seed=1)[1].request(pair.tokenizer)])[0].tokens
    assert decoder._is_idle()


class Shared(deque[TextEntry]):
    """A queue out of which another thread takes one meanwhile."""

    def popleft(self) -> TextEntry:
        """See deque."""
        if len(self) > 1:
            self.pop()
        return super().popleft()


def test_an_error_reaches_all_though_others_take_windows_meanwhile(pair: Pair) -> None:
    """Who encodes beside the rounds takes windows out of the queue that a round's error empties: none is forgotten."""
    request = cases(seed=1)[0].request(pair.tokenizer)
    entries = [TextEntry(request, Ticket()) for _ in range(5)]
    assert taken(Shared(entries)) == entries[:3]
