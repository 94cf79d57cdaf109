"""The decoder as on a GPU, on a CPU: steps are recorded and replayed, cannot be recorded, run out of memory; and
windows of which nothing can be computed.
"""

import gc
import weakref
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from structlog.testing import capture_logs

from btworker.engine.asr.decoding import aligning, alignment, finishing, places
from btworker.engine.asr.decoding import decoder as decoding
from btworker.engine.asr.decoding.decoder import Decoder
from btworker.engine.asr.decoding.graphs import WINDOWS, Recording, bucket, buckets, sizes_within
from btworker.engine.asr.decoding.lane import Lane
from btworker.engine.asr.decoding.requests import Decoded, TextRequest
from btworker.engine.asr.decoding.seating import LENGTHS, SIGNS, SIZES
from btworker.engine.asr.decoding.warping import keep_compiled
from btworker.engine.cooperate.ticket import Ticket
from btworker.errors import BtworkerError
from tests.slices import FULL, slice_of
from tests.speech.decoder_cases import SEEDS, Case, all_of, cases
from tests.speech.emulated_graphs import EmulatedRecorder, FailingRecorder
from tests.speech.failing_network import Failing
from tests.speech.lively_model import DIMS, Pair, lively_pair

pytestmark = [pytest.mark.speech, pytest.mark.timeout(300)]
NOT_PERMITTED = "CUDA error: operation not permitted when stream is capturing\nCUDA kernel errors might be reported"


@pytest.fixture(scope="module")
def pair() -> Pair:
    """One set of weights."""
    seed = slice_of(list(SEEDS), 1, "graphs")[0]
    return lively_pair(seed=seed, ends=SEEDS[seed])


@pytest.fixture(autouse=True)
def as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of a round and windows encoded at once as on a GPU, and more sizes of graphs."""
    monkeypatch.setitem(decoding.STEPS_PER_ROUND, "cpu", decoding.STEPS_PER_ROUND["cuda"])
    monkeypatch.setitem(decoding.ROUNDS_AHEAD, "cpu", decoding.ROUNDS_AHEAD["cuda"])
    monkeypatch.setitem(decoding.ENCODE_BATCH, "cpu", decoding.ENCODE_BATCH["cuda"])
    monkeypatch.setattr("btworker.engine.asr.decoding.graphs.REACH", 32)
    for owner, name in ((Decoder, "_round"), (Decoder, "prepare"), (alignment, "attend"), (places, "attend")):
        # operations on inference tensors cannot be looked at on their way
        monkeypatch.setattr(owner, name, torch.no_grad()(getattr(owner, name).__wrapped__))


def texts(pair: Pair, requests: list[TextRequest], *, batch_size: int, recording: Recording) -> list[tuple[int, ...]]:
    """Decode them."""
    decoder = Decoder(pair.network, pair.tokenizer, batch_size=batch_size, recording=recording)
    return [one.tokens for one in all_of(decoder, requests)]


@pytest.mark.parametrize("batch_size", [1, 3, 17] if FULL else slice_of([1, 3, 17], 1, "graph batches"))
def test_replayed_steps_give_whispers_tokens(pair: Pair, batch_size: int) -> None:
    """Steps recorded before the first window comes; hot ones, where there are some, among cold ones."""
    windows, recorder = cases(seed=1)[: 17 if FULL else 6], EmulatedRecorder()
    wanted = [window.wanted(pair.whisper, timed=True, beams=None) for window in windows]
    decoder = Decoder(pair.network, pair.tokenizer, batch_size=batch_size, recording=recorder.recording)
    decoder.prepare()
    before = recorder.recorded
    seating = len([length for length in LENGTHS if length <= SIGNS]) * len(sizes_within(SIZES, batch_size))
    lengths = {min(length, DIMS.n_text_ctx) for length in aligning.LENGTHS}
    aligned = len(lengths) * len(sizes_within(aligning.SIZES, batch_size))
    assert before == 2 * len(list(buckets(room=batch_size, longest=DIMS.n_text_ctx))) + seating + aligned
    found = all_of(decoder, [window.request(pair.tokenizer) for window in windows])
    prompts = recorder.recorded - before
    assert recorder.replayed >= max(len(one.tokens) for one in found)
    seatings_with_prompts = len([length for length in LENGTHS if SIGNS < length < 64]) * len(sizes_within(SIZES, 17))
    assert 0 < prompts <= seatings_with_prompts
    for mine, theirs in zip(found, wanted, strict=True):
        assert list(mine.tokens) == theirs.tokens
        assert abs(mine.avg_logprob - theirs.avg_logprob) <= 1e-4
    requests = [
        window.request(pair.tokenizer, temperatures=(0.6 * (number % 2),), seed=f"{number}")
        for number, window in enumerate(windows[: 6 if FULL else 3])
    ]
    sampled = [one.tokens for one in all_of(decoder, requests)]
    assert sampled == texts(pair, requests, batch_size=batch_size, recording=Recording(None))
    # Fewer windows may be seated with their prompts in another number at once, and nothing else is new
    assert before + prompts <= recorder.recorded <= before + seatings_with_prompts


def test_a_prompt_is_read_by_a_graph(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of any length up to the longest; recorded when the first of about this length comes, with the same texts."""
    reads: list[int] = []
    read = pair.network.read

    def counted(tokens: torch.Tensor, *others: Any, **named: Any) -> Any:
        reads.append(tokens.shape[1])
        return read(tokens, *others, **named)

    window, lengths = cases(seed=4)[1], (1, 10, 12, 40, 44, 79, 80)
    requests = [
        replace(window, prompt=tuple(range(1000, 1000 + length - 4))).request(pair.tokenizer)
        if length > 4
        else window.request(pair.tokenizer)
        for length in lengths
    ]
    wanted = texts(pair, requests, batch_size=1, recording=Recording(None))
    monkeypatch.setattr(pair.network, "read", counted)
    decoder = Decoder(pair.network, pair.tokenizer, batch_size=1, recording=(recorder := EmulatedRecorder()).recording)
    assert [all_of(decoder, [request])[0].tokens for request in requests] == wanted
    assert set(reads) == {8, 16, 64, DIMS.n_text_ctx} and len(reads) == 8  # each runs once as it is, and is recorded
    before, replayed = len(reads), recorder.replayed
    assert texts_of(decoder, requests) == wanted and len(reads) == before and recorder.replayed > replayed


def texts_of(decoder: Decoder, requests: list[TextRequest]) -> list[tuple[int, ...]]:
    """One after the other."""
    return [all_of(decoder, [request])[0].tokens for request in requests]


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")  # whisper's, with numpy 2
@pytest.mark.parametrize("beams", [2, 5] if FULL else [3])
def test_beams_are_recorded_and_whispers(pair: Pair, beams: int) -> None:
    """Their steps before and after the host's look, of places some of which are empty; texts with terms as those of
    steps that are not recorded; a text that is as long as it may be is no longer, though a round has several steps."""
    longest = replace(cases(seed=1)[0], prompt=tuple(range(1000, 1043)))
    windows = [*cases(seed=1)[: 12 if FULL else 4], longest]
    recorder = EmulatedRecorder()
    decoder = Decoder(pair.network, pair.tokenizer, batch_size=3 * beams, recording=recorder.recording)
    found = all_of(decoder, [window.request(pair.tokenizer, beams=beams) for window in windows])
    for window, mine in zip(windows, found, strict=True):
        theirs = window.wanted(pair.whisper, timed=True, beams=beams)
        assert list(mine.tokens) == theirs.tokens
        assert abs(mine.avg_logprob - theirs.avg_logprob) <= 1e-4
    graphs = decoder._lanes[beams].lane.graphs
    assert graphs is not None and {"choose", "follow"} < {key[1] for key in graphs._recorded}  # type: ignore[index]
    assert recorder.replayed > recorder.recorded
    trie = decoder.tries.make(["term number 3", "another"], bonus=4.0)
    requests = [replace(one.request(pair.tokenizer, beams=beams), terms=trie) for one in windows[:2]]
    assert [one.tokens for one in all_of(decoder, requests)] == texts(
        pair, requests, batch_size=3 * beams, recording=Recording(None)
    )


ALLOCATORS = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")
DRIVERS = RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported")
CUBLAS = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
short_of_memory = pytest.mark.parametrize("short", [ALLOCATORS, DRIVERS, CUBLAS], ids=["allocator", "driver", "cublas"])
"""Torch's error for memory is its allocator's alone; graphs and kernels are the driver's."""


@short_of_memory
def test_short_memory_for_a_graph_that_comes_late_costs_that_graph_alone(pair: Pair, short: RuntimeError) -> None:
    """All places stay, and all that is recorded; the same texts."""
    windows, recorder = cases(seed=1)[:4], EmulatedRecorder()
    requests = [window.request(pair.tokenizer) for window in windows]
    wanted = texts(pair, requests, batch_size=4, recording=Recording(None))
    decoder = Decoder(pair.network, pair.tokenizer, batch_size=4, recording=recorder.recording)
    decoder.prepare()
    tried: list[Any] = []

    def fails(step: Any) -> Any:
        tried.append(step)
        raise short

    recorder.record = fails  # type: ignore[method-assign]
    with capture_logs() as logged:
        for _ in range(2):
            assert texts_of(decoder, requests) == wanted
    assert decoder.batch_size == 4 and decoder._recording.is_on and recorder.replayed > 0
    assert [line["event"] for line in logged] == ["step_not_recorded"] * len(tried) and tried


def test_terms_that_grow_the_tables_void_their_own_steps_alone(pair: Pair) -> None:
    """Steps without terms stay recorded; those with terms are recorded anew, with the same texts as unrecorded ones."""
    recorder = EmulatedRecorder()
    decoder = Decoder(pair.network, pair.tokenizer, batch_size=2, recording=recorder.recording)
    windows = cases(seed=2)[:3]
    few, many = (decoder.tries.make([f"term number {n}" for n in range(count)], bonus=2.0) for count in (2, 400))
    requests = [
        replace(one.request(pair.tokenizer), terms=trie) for one, trie in zip(windows, (few, many, None), strict=True)
    ]
    found = [one.tokens for request in requests for one in all_of(decoder, [request])]
    recorded = recorder.recorded
    assert [one.tokens for one in all_of(decoder, [requests[2]])] == found[2:] and recorder.recorded == recorded
    assert found == texts(pair, requests, batch_size=2, recording=Recording(None))


@pytest.mark.parametrize("at", [0, 1])
def test_a_step_that_cannot_be_recorded_runs_as_it_is(pair: Pair, at: int) -> None:
    """At load or later, from then on and for good, with a line in the log that says what it costs; same texts."""
    windows, recorder = cases(seed=3)[:3], FailingRecorder(RuntimeError(NOT_PERMITTED), at=at)
    requests = [window.request(pair.tokenizer) for window in windows]
    with capture_logs() as logged:
        found = texts(pair, requests, batch_size=2, recording=recorder.recording)
    (line,) = [line for line in logged if line["event"] == "cuda_graphs_off"]
    assert line["reason"] == NOT_PERMITTED.splitlines()[0] and "WORKER_CUDA_GRAPHS" in line["message"]
    assert recorder.recorded == at
    assert found == texts(pair, requests, batch_size=2, recording=Recording(None))


@short_of_memory
def test_short_memory_while_steps_are_recorded_halves_the_places(pair: Pair, short: RuntimeError) -> None:
    """When the model is loaded; one place with too little memory is an error, and no endless loop."""
    recorder = FailingRecorder(short, at=5)
    decoder = Decoder(pair.network, pair.tokenizer, batch_size=8, recording=recorder.recording)
    recorder._at, recorder.recorded = 3, 0

    def once(step: Any, record: Any = recorder.record) -> Any:
        try:
            return record(step)
        except RuntimeError:
            recorder._at = -1
            raise

    recorder.record = once  # type: ignore[method-assign]
    decoder.prepare()
    assert decoder.batch_size == 4
    single = Decoder(pair.network, pair.tokenizer, batch_size=2, recording=FailingRecorder(short, at=0).recording)
    with pytest.raises(RuntimeError) as caught:
        single.prepare()
    assert caught.value is short


def test_every_size_that_a_step_may_have_is_recorded_at_load() -> None:
    """For rooms of all sizes: the buckets are those of `bucket`, the largest first."""
    for room in (1, 3, 16, 64, 128):
        known = list(buckets(room=room, longest=448))
        wanted = {
            bucket(windows, reach, room=room, longest=448) for windows in range(1, room + 1) for reach in range(1, 449)
        }
        assert set(known) == wanted and len(known) == len(wanted)
        assert known == sorted(known, reverse=True) and known[0] == (room, 448)
    assert WINDOWS[0] == 1


def poison(window: Case, pair: Pair, **options: Any) -> TextRequest:
    """The window's sound is no number."""
    return replace(window, mel=torch.full_like(window.mel, float("nan"))).request(pair.tokenizer, **options)


@pytest.mark.parametrize("beams", [1, 2])
def test_a_window_that_is_no_number_fails_alone(pair: Pair, beams: int) -> None:
    """At once, with a sentence, whatever temperatures are left; those beside it and after it are as without it."""
    windows = cases(seed=1)[: 5 if FULL else 3]
    requests = [window.request(pair.tokenizer, beams=beams) for window in windows]
    clean = texts(pair, requests, batch_size=2 * beams, recording=Recording(None))
    decoder = Decoder(pair.network, pair.tokenizer, batch_size=2 * beams)
    bad = decoder.submit(poison(windows[0], pair, beams=beams, temperatures=(0.0, 0.4)))
    good = [decoder.submit(request) for request in requests]
    while not all(ticket.done for ticket in (bad, *good)):
        decoder.wait([ticket for ticket in (bad, *good) if not ticket.done])
    with pytest.raises(BtworkerError, match="no number"):
        _ = bad.answer
    assert [ticket.answer.tokens for ticket in good] == clean


def test_a_poisoned_place_is_clean_for_the_next_window(pair: Pair) -> None:
    """Also where its window was given up half-way, decoded twice, or moved to another place."""
    windows = cases(seed=1)
    requests = [window.request(pair.tokenizer) for window in windows[: 4 if FULL else 2]]
    clean = texts(pair, requests, batch_size=2, recording=Recording(None))
    decoder = Decoder(pair.network, pair.tokenizer, batch_size=2)
    for rounds in (1, 3):
        bad: list[Ticket[Decoded]] = [decoder.submit(poison(window, pair)) for window in windows[7:10]]
        for _ in range(rounds):
            decoder.wait(bad[2:], at_most_s=0)
        for ticket in bad:
            ticket.cancel()
        assert [one.tokens for one in all_of(decoder, requests)] == clean


def test_a_language_that_is_no_number_is_an_error(pair: Pair) -> None:
    """It is not the first of the list."""
    decoder = Decoder(pair.network, pair.tokenizer, batch_size=2)
    ticket = decoder.detect_language(decoding.LanguageRequest(torch.full((80, 3000), float("nan"))))
    decoder.wait([ticket])
    with pytest.raises(BtworkerError, match="no number"):
        _ = ticket.answer


def test_an_error_does_not_hold_the_old_places(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tickets live on with the error, the lane's tensors do not. Short memory frees them before it begins again."""
    network = Failing(pair.whisper.state_dict(), DIMS, device=torch.device("cpu"), dtype=torch.float32)
    decoder = Decoder(network, pair.tokenizer, batch_size=2)
    lanes: list[weakref.ref[Lane]] = []
    monkeypatch.setattr(decoding, "release_cached_memory", lambda: alive.append([one() is not None for one in lanes]))
    alive: list[list[bool]] = []
    request = cases(seed=1)[0].request(pair.tokenizer)
    for error in (torch.cuda.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: illegal address")):
        network.fail_at(12, error)
        ticket = decoder.submit(request)
        decoder.wait([ticket], at_most_s=0)
        lanes[:] = [weakref.ref(places.lane) for places in decoder._lanes.values()]
        decoder.wait([ticket])
    assert alive == [[False]]
    gc.disable()
    try:
        with pytest.raises(RuntimeError, match="illegal address"):
            _ = ticket.answer
        assert [lane() for lane in lanes] == [None]
    finally:
        gc.enable()


def test_a_graph_without_memory_holds_no_places(pair: Pair) -> None:
    """What runs as it is, for want of memory to record it, keeps a lane no longer than its decoder does: of the next
    ones, half as many, there may be room for none beside it."""

    def fails(_step: Any) -> Any:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    recorder = EmulatedRecorder()
    recorder.record = fails  # type: ignore[method-assign]
    decoder = Decoder(pair.network, pair.tokenizer, batch_size=4, recording=recorder.recording)
    windows = cases(seed=1)[:2]
    requests = [window.request(pair.tokenizer, beams=beams) for window in windows for beams in (1, 2)]
    text = finishing.Text((50258, 50259, 50359, 50363), (1000,), 3000)
    assert all_of(decoder, [replace(request, to_align=lambda _: text) for request in requests])
    lanes = [weakref.ref(places.lane) for places in decoder._lanes.values()]
    assert len(lanes) == 2 and decoder._recording.is_on
    gc.collect()
    gc.disable()
    try:
        decoder.drop_places()
        assert [lane() for lane in lanes] == [None, None]
    finally:
        gc.enable()


OUT_OF_MEMORY, ILLEGAL = (
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
)


@pytest.mark.parametrize("error", [OUT_OF_MEMORY, CUBLAS, ILLEGAL], ids=["memory", "cublas", "illegal"])
@pytest.mark.parametrize("of", ["encode", "cross_keys_values", "read"])
@pytest.mark.parametrize("number", [1, 2])
def test_no_window_is_lost_where_a_pass_fails(pair: Pair, of: str, number: int, error: RuntimeError) -> None:
    """While languages are detected, windows encoded or seated: whoever waits has an error, or, where places were
    halved, the answer."""
    network = Failing(pair.whisper.state_dict(), DIMS, device=torch.device("cpu"), dtype=torch.float32)
    decoder = Decoder(network, pair.tokenizer, batch_size=4, recording=Recording(None))
    windows = cases(seed=1)[:2]
    network.fail_at(number, error, of=of)
    tickets: list[Ticket[Any]] = [decoder.detect_language(decoding.LanguageRequest(one.mel)) for one in windows]
    tickets += [decoder.submit(window.request(pair.tokenizer)) for window in windows]
    for ticket in tickets:
        assert decoder.wait([ticket], at_most_s=20)
        if error is not ILLEGAL:
            assert ticket.answer is not None
    assert network.left <= 0 and decoder.batch_size == (4 if error is ILLEGAL else 2)
    if error is ILLEGAL:
        with pytest.raises(RuntimeError, match="illegal"):
            _ = next(ticket for ticket in tickets if ticket._error is not None).answer


def test_no_window_is_lost_where_no_memory_can_be_given_back(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU broke over it: whoever waits has that error, also those who still stood in the queue."""

    def fails() -> None:
        raise ILLEGAL

    network = Failing(pair.whisper.state_dict(), DIMS, device=torch.device("cpu"), dtype=torch.float32)
    decoder = Decoder(network, pair.tokenizer, batch_size=2, recording=Recording(None))
    monkeypatch.setattr(torch.cuda, "empty_cache", fails)
    network.fail_at(3, OUT_OF_MEMORY)
    tickets = [decoder.submit(window.request(pair.tokenizer)) for window in cases(seed=1)[:4]]
    for ticket in tickets:
        assert decoder.wait([ticket], at_most_s=20)
        with pytest.raises(RuntimeError, match="illegal"):
            _ = ticket.answer
    assert decoder._is_idle()


def test_no_window_is_lost_whose_times_cannot_be_found(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its words are aligned in the round itself: its error, not silence."""

    def fails(_attention: alignment.Attention) -> None:
        raise RuntimeError("no times")

    monkeypatch.setattr(alignment.Attention, "alignment", fails)
    decoder = Decoder(pair.network, pair.tokenizer, batch_size=2)
    request = cases(seed=1)[0].request(pair.tokenizer)
    to_align = finishing.Text((50258, 50259, 50359, 50363), (1000,), 3000)
    ticket = decoder.submit(replace(request, to_align=lambda _: to_align))
    assert decoder.wait([ticket], at_most_s=20)
    with pytest.raises(RuntimeError, match="no times"):
        _ = ticket.answer


class Resubmitted(Ticket[Any]):
    """Whoever waits for it asks again at once, as another thread may at any moment."""

    def __init__(self, again: Any) -> None:
        super().__init__()
        self._again = again

    def fail(self, error: BaseException) -> None:
        """See Ticket."""
        super().fail(error)
        self._again()


def test_no_window_is_lost_that_comes_while_others_fail(pair: Pair) -> None:
    """It is neither forgotten with them, nor an error of the round."""
    network = Failing(pair.whisper.state_dict(), DIMS, device=torch.device("cpu"), dtype=torch.float32)
    decoder = Decoder(network, pair.tokenizer, batch_size=1)
    windows, late = cases(seed=1)[:3], list[Ticket[Any]]()
    for window in windows:
        sound = decoding.LanguageRequest(window.mel)
        ask: Any = partial(lambda sound: late.append(decoder.detect_language(sound)), sound)
        decoder._language_queue.append(decoding.LanguageEntry(sound, Resubmitted(ask)))
    network.fail_at(1, ILLEGAL, of="encode")
    decoder.wait(late[:1], at_most_s=0)
    assert len(late) == 3
    for ticket in late:
        assert decoder.wait([ticket], at_most_s=20) and ticket.answer.languages


def test_windows_may_come_while_the_next_ones_are_chosen(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread adds to the queue that the round looks through."""
    decoder = Decoder(pair.network, pair.tokenizer, batch_size=1)
    request, late = cases(seed=1)[0].request(pair.tokenizer), list[Ticket[Any]]()

    class Interrupted(places.TextEntry):
        @property
        def is_encoded(self) -> bool:
            if len(late) < 3:
                late.append(decoder.submit(request))
            return super().is_encoded

    ticket: Ticket[Any] = Ticket()
    decoder._text_queue.append(Interrupted(request, ticket))
    assert decoder.wait([ticket], at_most_s=20) and ticket.answer.tokens
    assert len(late) == 3 and {one.tokens for one in all_of_tickets(decoder, late)} == {ticket.answer.tokens}


def all_of_tickets(decoder: Decoder, tickets: list[Ticket[Any]]) -> list[Decoded]:
    """Wait for them."""
    assert all(decoder.wait([ticket], at_most_s=20) for ticket in tickets)
    return [ticket.answer for ticket in tickets]


def _words(decoded: Decoded) -> tuple[int, ...]:
    """Some words of the text."""
    return tuple(token for token in decoded.tokens if token < 50_257)[:5] or (1000,)


def test_words_are_aligned_few_windows_at_a_time(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """All windows of a round end together: no pass has more than ALIGN_BATCH, and each window has its own times."""
    counts: list[int] = []
    attend = places.attend

    def counted(network: Any, texts: Any, *others: Any, **named: Any) -> Any:
        counts.append(len(texts))
        return attend(network, texts, *others, **named)

    keep_compiled()
    monkeypatch.setattr(places, "attend", counted)
    monkeypatch.setattr(finishing, "ALIGN_BATCH", 2)
    monkeypatch.setitem(decoding.STEPS_PER_ROUND, "cpu", DIMS.n_text_ctx)
    requests = [
        replace(
            window.request(pair.tokenizer),
            to_align=lambda decoded: finishing.Text((50258, 50259, 50359, 50363), _words(decoded), 3000),
        )
        for window in cases(seed=1)[:5]
    ]
    together = all_of(Decoder(pair.network, pair.tokenizer, batch_size=5), requests)
    assert counts == [2, 2, 1]
    alone = all_of(Decoder(pair.network, pair.tokenizer, batch_size=1), requests[:1])
    assert [list(one.alignment.starts_s) for one in together[:1]] == [list(one.alignment.starts_s) for one in alone]
