"""The decoder's rounds in a thread of their own, as on a GPU: same texts and times, whoever waits, whatever fails."""

import gc
import threading
import weakref
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from btworker.engine.asr.decoding import driver
from btworker.engine.asr.decoding.alignment import Attention, Text
from btworker.engine.asr.decoding.decoder import Decoder
from btworker.engine.asr.decoding.requests import Decoded, TextRequest
from btworker.engine.asr.decoding.warping import keep_compiled
from btworker.errors import BtworkerError
from tests.speech.decoder_cases import SEEDS, all_of, cases
from tests.speech.failing_network import Failing
from tests.speech.lively_model import DIMS, Pair, lively_pair
from tests.waiting import until

pytestmark = [pytest.mark.speech, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def pair() -> Pair:
    """One set of weights."""
    keep_compiled()
    return lively_pair(seed=3, ends=SEEDS[3])


def to_align(decoded: Decoded) -> Text:
    """Some words of a text."""
    found = tuple(token for token in decoded.tokens if token < 50_257)[:5] or (1000,)
    return Text((50258, 50259, 50359, 50363), found, 3000)


def requests_of(pair: Pair, count: int) -> list[TextRequest]:
    """Windows whose words' times are wanted."""
    return [replace(one.request(pair.tokenizer), to_align=to_align) for one in cases(seed=1)[:count]]


def decoder_of(pair: Pair, **options: bool) -> Decoder:
    """A decoder of three places."""
    return Decoder(pair.network, pair.tokenizer, batch_size=3, **options)


def test_jobs_have_the_texts_and_times_that_they_have_without_it(pair: Pair) -> None:
    """Three jobs at once, in threads of their own, none of which makes a round."""
    requests = requests_of(pair, 3)
    wanted = all_of(decoder_of(pair), requests)
    decoder = decoder_of(pair, own_thread=True)
    makers: set[str] = set()
    encode = decoder._encode

    def noted(mels: list[torch.Tensor]) -> torch.Tensor:
        makers.add(threading.current_thread().name)
        return encode(mels)

    decoder._encode = noted  # type: ignore[method-assign]
    found: dict[int, list[Decoded]] = {}
    jobs = [
        threading.Thread(target=lambda at=at: found.update({at: all_of(decoder, [requests[at]])})) for at in range(3)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(60)
    mine = [one for at in sorted(found) for one in found[at]]
    assert makers == {"decoder"}
    assert [one.tokens for one in mine] == [one.tokens for one in wanted]
    for one, other in zip(mine, wanted, strict=True):
        assert list(one.alignment.starts_s) == list(other.alignment.starts_s)
        assert one.alignment.probabilities == pytest.approx(other.alignment.probabilities, rel=1e-4)


def test_an_error_reaches_who_waits_and_the_next_window_is_decoded(pair: Pair) -> None:
    """One of a step, and one of the thread that finds the times of words."""
    network = Failing(pair.whisper.state_dict(), DIMS, device=torch.device("cpu"), dtype=torch.float32)
    network.fail_at(5, RuntimeError("CUDA error: an illegal memory access was encountered"))
    decoder = Decoder(network, pair.tokenizer, batch_size=2, own_thread=True)
    (request,) = requests_of(pair, 1)
    with pytest.raises(RuntimeError, match="illegal memory"):
        all_of(decoder, [request])
    assert all_of(decoder, [request])[0].alignment is not None


def test_no_times_are_an_error_and_no_silence(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that finds the times of words fails: who waits has its error."""

    def fails(_attention: Attention) -> None:
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(Attention, "alignment", fails)
    with pytest.raises(RuntimeError, match="launch failure"):
        all_of(decoder_of(pair, own_thread=True), requests_of(pair, 1))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ends_by_an_error_leaves_nobody_waiting(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not even the lanes' memory can be given back: a sentence; the next window has a new thread."""
    decoder = decoder_of(pair, own_thread=True)
    rounds = decoder._driver._rounds  # type: ignore[attr-defined]
    make_round = rounds.make

    def fails() -> None:
        raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED")

    rounds.make = fails
    (request,) = requests_of(pair, 1)
    with pytest.raises(BtworkerError, match="the thread that decodes has failed"):
        all_of(decoder, [request])
    rounds.make = make_round
    assert all_of(decoder, [request])[0].tokens


def has_ended(own_thread: Any) -> bool:
    """The thread is none any more."""
    return own_thread._thread is None


def test_the_thread_stays_between_windows_and_ends_with_the_decoder(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What torch keeps for each thread, cuDNN's plans among it, is made once."""
    monkeypatch.setattr(driver, "LOOK_S", 0.01)
    decoder = decoder_of(pair, own_thread=True)
    own, looks, threads = cast("driver.OwnThread", decoder._driver), threading.Semaphore(0), []
    for _ in range(2):
        assert all_of(decoder, requests_of(pair, 1))[0].tokens
        threads.append(own._thread)
        with monkeypatch.context() as watched:
            watched.setattr(driver.Rounds, "is_over", property(lambda _: looks.release() or False))
            assert looks.acquire(timeout=30) and looks.acquire(timeout=30)  # idle, and nevertheless there
    (thread,) = {*threads, own._thread}
    assert thread is not None and thread.is_alive()
    del decoder
    gc.collect()
    until(partial(has_ended, own))
    thread.join(30)
    assert not thread.is_alive()


@pytest.mark.parametrize("own_thread", [False, True])
def test_who_makes_the_rounds_keeps_no_model(pair: Pair, own_thread: bool) -> None:
    """A model that nobody needs gives its memory to the next at once, while the thread still waits for windows."""
    decoder = decoder_of(pair, own_thread=own_thread)
    assert all_of(decoder, requests_of(pair, 1))[0].tokens
    gone, own = weakref.ref(decoder), decoder._driver
    gc.disable()
    try:
        del decoder
        until(lambda: gone() is None, within_s=driver.LOOK_S / 2)
        assert not own_thread or own._thread is not None  # type: ignore[attr-defined]
    finally:
        gc.enable()


def test_a_round_that_hangs_is_known_to_last(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as it does, and by nobody else's word; none lasts where nobody makes one."""
    decoder = decoder_of(pair, own_thread=True)
    began, ends, now_s = threading.Event(), threading.Event(), [1000.0]
    monkeypatch.setattr(driver, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    make_round = decoder._make_round

    def hangs() -> None:
        began.set()
        assert ends.wait(60)
        make_round()

    decoder._make_round = hangs  # type: ignore[method-assign]
    assert decoder.round_s == 0
    ticket = decoder.submit(requests_of(pair, 1)[0])
    assert began.wait(60)
    now_s[0] += 600
    assert decoder.round_s == 600
    ends.set()
    assert decoder.wait([ticket])
    until(lambda: decoder.round_s == 0)
    assert decoder_of(pair).round_s == 0


def test_who_waits_has_a_limit_and_may_cancel(pair: Pair) -> None:
    """As without a thread: False after the given time; a canceled window makes room."""
    decoder = decoder_of(pair, own_thread=True)
    rounds = decoder._driver._rounds  # type: ignore[attr-defined]
    rounds.make, make_round = lambda: None, rounds.make
    tickets = [decoder.submit(request) for request in requests_of(pair, 2)]
    assert not decoder.wait(tickets, at_most_s=0.02)
    tickets[0].cancel()
    rounds.make = make_round
    assert decoder.wait(tickets[1:]) and not tickets[0].done
