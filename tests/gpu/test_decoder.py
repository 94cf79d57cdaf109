"""The batched decoder on an NVIDIA GPU: openai-whisper's tokens, as CUDA graphs, without a look at the device."""

import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
import whisper

from btworker.engine.asr.decoding.decoder import Decoder
from btworker.engine.asr.decoding.favoured import NO_TERMS
from btworker.engine.asr.decoding.graphs import CudaRecorder, Graphs, Recording
from btworker.engine.asr.decoding.kept_sound import KeptSound
from btworker.engine.asr.decoding.kernels.choosing import Sizes, set_kernels, why_not
from btworker.engine.asr.decoding.kernels.plain import PlainKernels
from btworker.engine.asr.decoding.lane import Lane
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.decoding.requests import Decoded, chances
from btworker.engine.asr.decoding.rules import TokenRules, Vocabulary
from btworker.engine.asr.decoding.seating import Start
from btworker.engine.asr.spectrograms import Spectrograms
from btworker.engine.stack.gpu_turns import OwnStream, all_bits, enter_thread, release_cached_memory
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


def tokens(found: list[Decoded]) -> list[tuple[int, ...]]:
    """Of each text."""
    return [one.tokens for one in found]


@contextmanager
def beside(work: Callable[[], None]) -> Iterator[None]:
    """Have another thread do it again and again."""
    over, failed = threading.Event(), list[BaseException]()

    def again() -> None:
        try:
            enter_thread(CUDA)
            while not over.is_set():
                work()
        except BaseException as error:  # noqa: BLE001 - it is the test's
            failed.append(error)

    thread = threading.Thread(target=again)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert failed == []


def test_steps_are_recorded_while_others_are_at_work(pair: Pair) -> None:
    """Who allocates, waits, sends from pinned memory and gives memory back, on the device's own stream and another one:
    no recording fails, and texts are those of steps that are not recorded."""
    network, windows = network_of(pair, torch.float32), cases(seed=1)[:4]
    requests = [window.request(pair.tokenizer) for window in windows]
    wanted = tokens(all_of(Decoder(network, pair.tokenizer, batch_size=4, recording=Recording(None)), requests))
    stream, sizes = OwnStream(CUDA, "test"), iter(range(1 << 20, 1 << 30, 1 << 12))

    def work() -> None:
        held = torch.ones(next(sizes), device=CUDA)  # of ever another size: the driver is asked for it
        sent = torch.ones(1 << 16).pin_memory().to(CUDA, non_blocking=True)
        assert float(held[0] + sent[0]) == 2
        with stream.entered():
            assert float((sent.cpu().to(CUDA) @ sent.cpu().to(CUDA)).sqrt()) == 256
        del held
        release_cached_memory()

    for batch_size in (4, 3):
        recording = Recording.on(CUDA)
        with beside(work):
            decoder = Decoder(network, pair.tokenizer, batch_size=batch_size, recording=recording)
            decoder.prepare()
            assert tokens(all_of(decoder, requests)) == wanted
        assert recording.is_on


def test_a_recording_that_fails_costs_no_other(pair: Pair) -> None:
    """A step that looks at the device cannot be recorded: what comes runs as it is, memory can be given back, and the
    next model's steps are recorded."""
    recording, number = Recording.on(CUDA), torch.ones(1, device=CUDA)
    graphs = Graphs(recording)
    assert graphs.run("looks", lambda: float(number)) == 1 and not recording.is_on
    release_cached_memory()
    assert graphs.run("looks", lambda: float(number + torch.ones(1, device=CUDA))) == 2
    network, windows = network_of(pair, torch.float32), cases(seed=1)[:3]
    requests, again = [window.request(pair.tokenizer) for window in windows], Recording.on(CUDA)
    wanted = tokens(all_of(Decoder(network, pair.tokenizer, batch_size=3, recording=Recording(None)), requests))
    assert tokens(all_of(Decoder(network, pair.tokenizer, batch_size=3, recording=again), requests)) == wanted
    assert again.is_on


def test_models_that_come_and_go_keep_no_memory() -> None:
    """Of streams on which cuBLAS has multiplied, whichever thread records there."""
    one = torch.ones(64, 64, device=CUDA, dtype=torch.float16)

    def once() -> None:
        enter_thread(CUDA)
        Spectrograms(CUDA)
        CudaRecorder(CUDA).record(lambda: F.linear(one, one, one[0]))()

    def in_thread() -> None:
        thread = threading.Thread(target=once)
        thread.start()
        thread.join()

    in_thread()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for _ in range(40):
        in_thread()
    torch.cuda.synchronize()
    assert torch.cuda.memory_allocated() - before < 16 << 20


def test_float32_has_all_its_bits() -> None:
    """TF32 would have ten."""
    all_bits(CUDA)
    sound, weights = torch.randn(4, 128, 500), torch.randn(128, 128, 3)
    wanted = F.conv1d(sound.double(), weights.double())
    found = F.conv1d(sound.to(CUDA), weights.to(CUDA)).cpu()
    assert float((found - wanted).abs().max()) < 1e-4 * float(wanted.std())


@has_kernels
@torch.inference_mode()
def test_offsets_beyond_two_to_the_31st() -> None:
    """Of more places than a worker has, in the last of which alone is a text."""
    fused = importlib.import_module("btworker.engine.asr.decoding.kernels.fused").FusedKernels(132)
    heads, width, plain = 20, 64, PlainKernels()
    for rows, positions in ((1200, 1500), (4000, 448)):
        assert rows * heads * positions * width > 1 << 31
        kept = torch.zeros(2, rows, heads, positions, width, device=CUDA, dtype=torch.float16)
        kept[:, -1].normal_()
        idle = torch.ones(rows, dtype=torch.bool, device=CUDA)
        idle[-1] = False
        asked = torch.randn(rows, 3 * heads * width, device=CUDA, dtype=torch.float16) / 8
        query = asked[:, : heads * width].contiguous()
        if positions == 1500:
            found = fused.to_sound(idle)(query, KeptSound(kept))[-1:]
            wanted = plain.to_sound(idle[-1:])(query[-1:], KeptSound(kept[:, -1:].contiguous()))
        else:
            at = torch.full((rows,), positions - 1, device=CUDA)
            last = kept[:, -1:].contiguous()
            found = fused.to_past(at, idle, reach=positions)(asked, kept)[-1:]
            wanted = plain.to_past(at[-1:], idle[-1:], reach=positions)(asked[-1:], last)
        assert torch.allclose(found.float(), wanted.float(), atol=0.01, rtol=0.01)
        del kept
