"""The batched decoder says token for token what openai-whisper says of one window at a time."""

import threading
from collections import Counter
from dataclasses import replace

import pytest
import torch
import whisper

from btworker.engine.asr.decoding.decoder import Decoder
from btworker.engine.asr.decoding.lane import Lane
from btworker.engine.asr.decoding.requests import Decoded, LanguageRequest, chances
from btworker.engine.asr.decoding.rules import TokenRules, Vocabulary
from btworker.engine.asr.decoding.seating import Start
from btworker.engine.cooperate.ticket import Ticket
from tests.speech.decoder_cases import SEEDS, Case, all_of, cases
from tests.speech.failing_network import Failing
from tests.speech.lively_model import DIMS, Pair, lively_pair

pytestmark = [
    pytest.mark.speech,
    pytest.mark.timeout(600),
    # whisper's beam search hands tensors to numpy 2
    pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning"),
]


@pytest.fixture(scope="module", params=SEEDS, ids=lambda seed: f"seed {seed}")
def pair(request: pytest.FixtureRequest) -> Pair:
    """Several sets of weights."""
    return lively_pair(seed=request.param, ends=SEEDS[request.param])


@pytest.fixture(scope="module")
def one_pair() -> Pair:
    """One set of weights, for what does not need several."""
    return lively_pair(seed=3, ends=SEEDS[3])


@pytest.mark.sliced("tokens", 3)
@pytest.mark.parametrize(
    ("timed", "beams"),
    [(True, None), (False, None), (True, 2), (False, 5)],
    ids=["greedy", "untimed", "beam 2", "beam 5"],
)
def test_tokens_equal_openai_whisper(pair: Pair, timed: bool, beams: int | None) -> None:
    """In batches of 1, 3 and 17: tokens, log-probabilities to 1e-4, no-speech probabilities to 1e-5."""
    windows = cases(seed=1)
    wanted = [window.wanted(pair.whisper, timed=timed, beams=beams) for window in windows]
    assert len({len(one.tokens) for one in wanted}) > 1, "every text ends at the same step: the test shows little"
    for batch_size in (1, 3, 17):
        decoder = Decoder(pair.network, pair.tokenizer, batch_size=batch_size * (beams or 1))
        requests = [window.request(pair.tokenizer, timed=timed, beams=beams or 1) for window in windows]
        for mine, theirs in zip(all_of(decoder, requests), wanted, strict=True):
            assert list(mine.tokens) == theirs.tokens
            assert mine.text == theirs.text
            assert abs(mine.avg_logprob - theirs.avg_logprob) <= 1e-4
            assert abs(mine.no_speech_prob - theirs.no_speech_prob) <= 1e-5
            assert mine.compression_ratio == pytest.approx(theirs.compression_ratio)


def test_languages_equal_openai_whisper(pair: Pair) -> None:
    """Of every window, to 1e-5."""
    decoder = Decoder(pair.network, pair.tokenizer, batch_size=16)
    windows = cases(seed=2)
    tickets = [decoder.detect_language(LanguageRequest(window.mel)) for window in windows]
    for window, ticket in zip(windows, tickets, strict=True):
        decoder.wait([ticket])
        _, wanted = pair.whisper.detect_language(window.mel, pair.tokenizer)
        assert ticket.answer.languages.keys() == wanted.keys()
        assert all(abs(ticket.answer.languages[code] - wanted[code]) <= 1e-5 for code in wanted)


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_neighbours_change_nothing(one_pair: Pair, temperature: float) -> None:
    """A window alone and among fifteen others, sampled or not: the same tokens, log-probabilities within 1e-4."""
    network, tokenizer = one_pair.network, one_pair.tokenizer
    requests = [
        window.request(tokenizer, temperatures=(temperature,), seed=f"window {number}")
        for number, window in enumerate(cases(seed=3)[:16])
    ]
    together = all_of(Decoder(network, tokenizer, batch_size=16), requests)
    for request, among_others in zip(requests, together, strict=True):
        (alone,) = all_of(Decoder(network, tokenizer, batch_size=1), [request])
        assert alone.tokens == among_others.tokens
        assert abs(alone.avg_logprob - among_others.avg_logprob) <= 1e-4
    assert len({one.tokens for one in together}) == len(together)


@torch.inference_mode()
def test_samples_are_distributed_as_the_probabilities_say(one_pair: Pair) -> None:
    """The first token, drawn 2,000 times: no token's share is off by more than five standard errors."""
    window, rows, rounds, temperature = cases(seed=4)[0], 50, 40, 3.0
    network, tokenizer = one_pair.network, one_pair.tokenizer
    lane = Lane(network, TokenRules(Vocabulary.of(tokenizer), DIMS.n_vocab, network.device), windows=rows)
    start = window.signs(timed=True)
    features = network.encode(window.mel[None]).expand(rows, -1, -1)
    first: Counter[int] = Counter()
    for draw in range(rounds):
        numbers = [chances(f"draw {draw} {row}", temperature, lane.samples) for row in range(rows)]
        starts = [Start(start, timed=True, temperature=temperature, chances=one) for one in numbers]
        if draw == 0:
            lane.seat(range(rows), list(features), starts)
        else:
            lane.restart(range(rows), starts)
        lane.step(rows)
        drawn = lane.fetch_rows(rows, anyway=True)
        first.update(drawn.row(row).tokens[0] for row in range(rows))
    count = rows * rounds
    expected = (_first_logits(one_pair, window) / temperature).softmax(-1)
    for token, share in enumerate(expected.tolist()):
        assert abs(first[token] / count - share) <= 5 * (share * (1 - share) / count) ** 0.5 + 1 / count
    assert len(first) > 5


def _first_logits(pair: Pair, window: Case) -> torch.Tensor:
    """openai-whisper's, filtered by its own rules."""
    options = whisper.DecodingOptions(language=window.language, task=window.task, fp16=False)
    task = whisper.decoding.DecodingTask(pair.whisper, options)
    with torch.no_grad():
        tokens = torch.tensor([task.initial_tokens])
        logits = pair.whisper.logits(tokens, pair.whisper.embed_audio(window.mel[None]))[:, -1]
        for rule in task.logit_filters:
            rule.apply(logits, tokens)
    return logits[0]


def test_a_text_that_is_not_believed_is_decoded_again(one_pair: Pair) -> None:
    """At each temperature in turn, while its neighbours go on; the last one stands. A greedy text stays as it is."""
    tokenizer = one_pair.tokenizer
    tried: list[float] = []

    def never(decoded: Decoded) -> bool:
        tried.append(decoded.temperature)
        return True

    doubted, *others = cases(seed=5)[:6]
    requests = [window.request(tokenizer) for window in others]
    again = doubted.request(tokenizer, temperatures=(0.0, 0.4, 0.8), unacceptable=never, beams=2)
    decoder = Decoder(one_pair.network, tokenizer, batch_size=4)
    last, *rest = all_of(decoder, [again, *requests])
    assert tried == [0.0, 0.4]
    assert last.temperature == 0.8
    (same,) = all_of(decoder, [doubted.request(tokenizer, temperatures=(0.8,))])
    assert same.tokens == last.tokens
    assert [one.tokens for one in rest] == [one.tokens for one in all_of(decoder, requests)]


def test_a_hopeless_text_is_not_decoded_to_its_end(one_pair: Pair) -> None:
    """It is asked about every 32 tokens, and the next temperature begins; the last one's text is whole."""
    tokenizer, asked = one_pair.tokenizer, []

    def hopeless(text: str) -> bool:
        asked.append(text)
        return True

    long = next(
        window
        for window in cases(seed=5)
        if len(all_of(Decoder(one_pair.network, tokenizer, batch_size=1), [window.request(tokenizer)])[0].tokens) > 32
    )
    request = replace(long.request(tokenizer, temperatures=(0.0, 0.0)), hopeless=hopeless)
    plain = long.request(tokenizer)
    decoder = Decoder(one_pair.network, tokenizer, batch_size=2)
    given_up, whole = all_of(decoder, [request, plain])
    assert len(asked) == 1
    assert whole.text.startswith(asked[0].strip())
    assert given_up.tokens == whole.tokens


def test_what_is_not_wanted_any_more_makes_room(one_pair: Pair) -> None:
    """A canceled window leaves at the next step, waiting or seated; the others' texts are the same."""
    tokenizer = one_pair.tokenizer
    decoder = Decoder(one_pair.network, tokenizer, batch_size=2)
    requests = [window.request(tokenizer) for window in cases(seed=6)[:5]]
    tickets = [decoder.submit(request) for request in requests]
    for _ in range(3):
        assert not decoder.wait(tickets, at_most_s=0), "they were through before any was canceled"
    tickets[0].cancel()
    tickets[3].cancel()
    for index in (1, 2, 4):
        decoder.wait([tickets[index]])
    assert not tickets[0].done and not tickets[3].done
    expected = all_of(Decoder(one_pair.network, tokenizer, batch_size=1), [requests[index] for index in (1, 2, 4)])
    assert [tickets[index].answer.tokens for index in (1, 2, 4)] == [one.tokens for one in expected]


def test_jobs_in_threads_share_the_batch(one_pair: Pair) -> None:
    """Eight at once, each waiting for its own windows, whoever drives."""
    tokenizer = one_pair.tokenizer
    decoder = Decoder(one_pair.network, tokenizer, batch_size=4)
    requests = [window.request(tokenizer) for window in cases(seed=7)[:16]]
    found: dict[int, list[Decoded]] = {}

    def job(number: int) -> None:
        found[number] = all_of(decoder, requests[number * 2 : number * 2 + 2])

    threads = [threading.Thread(target=job, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    texts = [one.tokens for number in range(8) for one in found[number]]
    assert texts == [one.tokens for one in all_of(Decoder(one_pair.network, tokenizer, batch_size=1), requests)]


@pytest.fixture
def failing(one_pair: Pair) -> Failing:
    """The same weights."""
    return Failing(one_pair.whisper.state_dict(), DIMS, device=torch.device("cpu"), dtype=torch.float32)


def test_short_memory_halves_the_batch(one_pair: Pair, failing: Failing) -> None:
    """It is learned, and every window gets its text."""
    tokenizer = one_pair.tokenizer
    requests = [window.request(tokenizer) for window in cases(seed=8)[:7]]
    decoder = Decoder(failing, tokenizer, batch_size=4)
    failing.fail_at(20, torch.cuda.OutOfMemoryError("CUDA out of memory"))
    found = all_of(decoder, requests)
    assert decoder.batch_size == 2
    expected = all_of(Decoder(one_pair.network, tokenizer, batch_size=4), requests)
    assert [one.tokens for one in found] == [one.tokens for one in expected]


def test_short_memory_does_not_encode_what_was_heard(one_pair: Pair, failing: Failing) -> None:
    """A window that came with what the encoder made of it has the same text, also after its batch was halved."""
    tokenizer = one_pair.tokenizer
    plain = [window.request(tokenizer) for window in cases(seed=8)[:4]]
    heard = [replace(one, sound=failing.encode(one.sound[None])[0], is_encoded=True) for one in plain]
    decoder = Decoder(failing, tokenizer, batch_size=4)
    failing.fail_at(10, torch.cuda.OutOfMemoryError("CUDA out of memory"))
    found = all_of(decoder, heard)
    assert decoder.batch_size == 2
    expected = all_of(Decoder(one_pair.network, tokenizer, batch_size=4), plain)
    assert [one.tokens for one in found] == [one.tokens for one in expected]


def test_memory_for_not_even_one_is_an_error(one_pair: Pair, failing: Failing) -> None:
    """Of each job that waits."""
    decoder = Decoder(failing, one_pair.tokenizer, batch_size=1)
    failing.fail_at(5, torch.cuda.OutOfMemoryError("CUDA out of memory"))
    tickets = [decoder.submit(window.request(one_pair.tokenizer)) for window in cases(seed=8)[:2]]
    decoder.wait(tickets)
    for ticket in tickets:
        with pytest.raises(torch.cuda.OutOfMemoryError):
            _ = ticket.answer


def test_an_error_reaches_every_job_and_leaves_no_trace(one_pair: Pair, failing: Failing) -> None:
    """Nobody waits for ever; what is asked afterwards is answered."""
    decoder = Decoder(failing, one_pair.tokenizer, batch_size=3)
    failing.fail_at(4, ValueError("broken"))
    requests = [window.request(one_pair.tokenizer) for window in cases(seed=9)[:5]]
    tickets: list[Ticket[Decoded]] = [decoder.submit(request) for request in requests]
    decoder.wait(tickets)
    assert all(ticket.done for ticket in tickets)
    with pytest.raises(ValueError, match="broken"):
        _ = tickets[-1].answer
    assert all_of(decoder, requests[:1])[0].tokens
