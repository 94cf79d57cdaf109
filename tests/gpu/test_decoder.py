"""The batched decoder on an NVIDIA GPU: openai-whisper's tokens, as CUDA graphs, without a look at the device."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
import whisper

from btworker.engine.asr.decoding.decoder import Decoder
from btworker.engine.asr.decoding.favoured import NO_TERMS
from btworker.engine.asr.decoding.kernels.choosing import Sizes, set_kernels, why_not
from btworker.engine.asr.decoding.lane import Lane
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.decoding.requests import Decoded, chances
from btworker.engine.asr.decoding.rules import TokenRules, Vocabulary
from btworker.engine.asr.decoding.seating import Start
from tests.speech.decoder_cases import SEEDS, Case, all_of, cases
from tests.speech.lively_model import DIMS, Pair, lively_pair

pytestmark = [pytest.mark.gpu, pytest.mark.speech, pytest.mark.timeout(300)]

CUDA = torch.device("cuda:0")
has_kernels = pytest.mark.skipif(torch.__version__.startswith("2.2."), reason="Triton 2.2 is not used")


@has_kernels
def test_each_kernel_gives_what_torch_gives() -> None:
    """In the sizes of large-v3 and of a small model."""
    assert [why_not(CUDA, sizes) for sizes in (Sizes(), Sizes(6, 64, 1500, 448))] == [None, None]


@pytest.fixture(scope="module")
def pair() -> Pair:
    """A model that listens."""
    return lively_pair(seed=3, ends=SEEDS[3])


def network_of(pair: Pair, dtype: torch.dtype, *, triton: bool = False) -> Network:
    """The same weights on the GPU."""
    network = Network(pair.whisper.state_dict(), DIMS, device=CUDA, dtype=dtype)
    if triton:
        set_kernels(network)
        assert network.kernels.name == "triton"
    return network


def decoded(network: Network, pair: Pair, windows: list[Case], *, batch_size: int, beams: int = 1) -> list[Decoded]:
    """Our texts."""
    decoder = Decoder(network, pair.tokenizer, batch_size=batch_size * beams)
    return all_of(decoder, [window.request(pair.tokenizer, beams=beams) for window in windows])


@pytest.mark.parametrize(
    ("beams", "triton"), [(1, False), (3, False), *[pytest.param(beams, True, marks=has_kernels) for beams in (1, 3)]]
)
def test_tokens_equal_openai_whisper_in_float32(pair: Pair, beams: int, triton: bool) -> None:
    """In batches of 1, 3 and 17, with graphs of several sizes; by torch's kernels and by Triton's."""
    windows = cases(seed=1)
    wanted = [window.wanted(pair.whisper, timed=True, beams=beams if beams > 1 else None) for window in windows]
    network = network_of(pair, torch.float32, triton=triton)
    for batch_size in (1, 3, 17):
        found = decoded(network, pair, windows, batch_size=batch_size, beams=beams)
        for mine, theirs in zip(found, wanted, strict=True):
            assert list(mine.tokens) == theirs.tokens
            assert abs(mine.avg_logprob - theirs.avg_logprob) <= 1e-3
            assert abs(mine.no_speech_prob - theirs.no_speech_prob) <= 1e-4


def test_half_precision_agrees_as_often_as_whispers_own(pair: Pair) -> None:
    """fp16 against whisper's fp16 on the same GPU: the share of equal texts is printed; most have to be."""
    model = pair.whisper.to(CUDA)
    try:
        windows = cases(seed=1)
        options = [
            whisper.DecodingOptions(task=one.task, language=one.language, prompt=list(one.prompt), fp16=True)
            for one in windows
        ]
        wanted = [whisper.decode(model, one.mel.to(CUDA), how) for one, how in zip(windows, options, strict=True)]
    finally:
        model.to("cpu")
    found = decoded(network_of(pair, torch.float16), pair, windows, batch_size=16)
    equal = sum(list(mine.tokens) == theirs.tokens for mine, theirs in zip(found, wanted, strict=True))
    print(f"\nfp16: {equal} of {len(windows)} texts are equal to openai-whisper's")
    assert equal >= 0.6 * len(windows)


@contextmanager
def no_syncs() -> Iterator[None]:
    """Every wait for the device raises."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("temperature", [0.0, 0.6])
@torch.inference_mode()
def test_a_step_waits_for_nothing(pair: Pair, temperature: float) -> None:
    """Zero syncs in a step, recorded or not; greedy or sampled."""
    network, rows = network_of(pair, torch.float16), 5
    lane = Lane(network, TokenRules(Vocabulary.of(pair.tokenizer), DIMS.n_vocab, CUDA), windows=rows)
    window = cases(seed=2)[0]
    start = window.signs(timed=True)
    heard = network.encode(window.mel[None].to(CUDA, torch.float16)).expand(rows, -1, -1)
    drawn = [chances(f"{row}", temperature, lane.samples) if temperature else None for row in range(rows)]
    starts = [Start(start, timed=True, temperature=temperature, chances=one) for one in drawn]
    lane.seat(range(rows), list(heard), starts)  # which records it
    lane.step(rows)
    with no_syncs():
        lane.seat(range(rows), list(heard), starts)
        for _ in range(8):
            lane.step(rows)
        lane._step(rows, lane.farthest(rows), hot=temperature > 0, widths=NO_TERMS)
        fetched = lane.fetch_rows(rows)
    assert fetched.row(0).tokens
