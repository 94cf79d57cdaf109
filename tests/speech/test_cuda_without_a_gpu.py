"""What can be known of CUDA without a GPU: devices of tensors and launches, by fake CUDA tensors; the order of calls
around a capture, and of threads, at the seam to torch.cuda.
"""

import gc
import importlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from structlog.testing import capture_logs
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from whisper.model import Whisper

from btworker.cli import gpu_check
from btworker.cli.checks import Verdict
from btworker.engine.asr import spectrograms
from btworker.engine.asr.decoding import graphs
from btworker.engine.asr.decoding.alignment import Text
from btworker.engine.asr.decoding.graphs import CudaRecorder, Graphs, Recording
from btworker.engine.asr.decoding.kernels.choosing import set_kernels
from btworker.engine.asr.decoding.kernels.encoding import by_torch
from btworker.engine.asr.decoding.lane import Lane
from btworker.engine.asr.decoding.languages import Detections
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.decoding.places import LanguageEntry, Places, TextEntry
from btworker.engine.asr.decoding.requests import LanguageRequest, TextRequest
from btworker.engine.asr.decoding.rules import TokenRules, Vocabulary
from btworker.engine.asr.decoding.seating import Start
from btworker.engine.asr.mel import LogMel
from btworker.engine.asr.spectrograms import Spectrograms
from btworker.engine.cooperate.ticket import Ticket
from btworker.engine.stack import gpu_turns
from btworker.engine.stack.complex_numbers import magnitude
from btworker.specs import Device
from tests.speech.decoder_cases import cases
from tests.speech.fake_cuda import IS_OLD, has_fake_cuda
from tests.speech.lively_model import DIMS, Pair, lively_pair

pytestmark = [pytest.mark.speech, pytest.mark.timeout(120)]
CUDA = torch.device("cuda:0")
VIEWS = frozenset("view _unsafe_view reshape t transpose slice select unsqueeze squeeze alias detach device".split())
"""Operators that launch nothing."""


class Launches(TorchDispatchMode):
    """Counts operations, and those for which the host waits."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()
        self.waits: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        result = function(*arguments, **(named or {}))
        name = function.overloadpacket.__name__
        tensors = [leaf for leaf in tree_leaves((arguments, named, result)) if isinstance(leaf, torch.Tensor)]
        # a number that is put somewhere by an index is sent from the host like any tensor; to fill, it is an argument
        kinds = {tensor.device.type for tensor in tensors if tensor.dim() or name != "fill_"}
        self.names[name] += 1
        is_queued = (named or {}).get("non_blocking") or (name == "copy_" and True in arguments[2:])
        if name in ("_local_scalar_dense", "nonzero", "is_nonzero") or (len(kinds) > 1 and not is_queued):
            self.waits.append(name)
        if name == "abs" and any(tensor.is_complex() for tensor in tensors):
            self.waits.append("abs of complex numbers, which is compiled at its first use")
        return result


@contextmanager
def launches() -> Iterator[Launches]:
    """Count what happens inside."""
    with Launches() as counted:
        yield counted


@pytest.fixture(scope="module")
def pair() -> Pair:
    """For its tokenizer."""
    return lively_pair(seed=3, ends=45.0)


@pytest.fixture(scope="module")
def window(pair: Pair) -> TextRequest:
    """A window whose text is wanted."""
    return cases(seed=1)[0].request(pair.tokenizer)


@contextmanager
def fake_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    """A network on a GPU that is none."""
    monkeypatch.setattr(torch.Tensor, "to_sparse", lambda self, *_: self)
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in Whisper(DIMS).state_dict().items()}
    shapes.pop("alignment_heads", None)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        state = {name: torch.empty(shape, device=CUDA, dtype=torch.float16) for name, shape in shapes.items()}
        yield Network(state, DIMS, device=CUDA, dtype=torch.float16)


@pytest.fixture
def lane(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lane]:
    """A lane of five places there."""
    with fake_network(monkeypatch) as network:
        rules = TokenRules(Vocabulary.of(pair.tokenizer), DIMS.n_vocab, CUDA)
        yield Lane(network, rules, windows=5, recording=Recording(None))


@has_fake_cuda
@pytest.mark.parametrize("hot", [False, True])
def test_a_step_is_of_the_device_alone(lane: Lane, hot: bool) -> None:
    """All its tensors are there, and the host reads none."""
    with launches() as counted:
        lane._recording = Recording(None)
        lane.graphs = object()  # type: ignore[assignment] - as where it is recorded
        lane._step(5, 32, hot=hot, widths=(0, 0))
    assert counted.waits == [] and sum(counted.names.values()) > 100


@has_fake_cuda
def test_a_fused_step_launches_a_third(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve kernels a layer and few besides, all on the device, where Triton's are chosen: 392 of large-v3."""
    fused = importlib.import_module("btworker.engine.asr.decoding.kernels.fused")
    with fake_network(monkeypatch) as network:
        network.kernels = fused.FusedKernels(1)
        rules = TokenRules(Vocabulary.of(pair.tokenizer), DIMS.n_vocab, CUDA)
        lane = Lane(network, rules, windows=5, recording=Recording(None))
        with launches() as counted:
            lane._step(5, 32, hot=False, widths=(0, 0))
    assert counted.waits == []
    kernels = {name: count for name, count in counted.names.items() if name not in VIEWS}
    assert sum(kernels.values()) <= 12 * DIMS.n_text_layer + 8, kernels


@has_fake_cuda
@pytest.mark.usefixtures("pinned")
def test_every_pass_is_on_the_device(lane: Lane) -> None:
    """Encoder, prefill, places, moves and alignment's scores raise nothing about devices."""
    network = lane.network
    features = network.encode(torch.empty(3, DIMS.n_mels, 3000, device=CUDA, dtype=torch.float16))
    sound = network.cross_keys_values(features)
    hidden, _ = network.read(torch.zeros(3, 4, dtype=torch.long, device=CUDA), sound)
    assert hidden.device == CUDA and network.logits(hidden[:, 0]).dtype is torch.float32
    start = Start((1, 2, 3), timed=True, temperature=0.0, chances=None)
    for _ in range(2):  # the second ones clear what the first ones may have written
        lane.seat(range(3), list(features), [start] * 3)
        lane.restart([0], [start])
        lane.advanced(3)
    lane.move(2, 1)
    scores: list[torch.Tensor] = []
    network.read(
        torch.zeros(2, 9, dtype=torch.long, device=CUDA),
        [kept.of(slice(2), network.dtype) for kept in lane.sound],
        scores=scores,
    )
    assert {score.device for score in scores} == {CUDA}


class FakeEvent:
    """An event of a stream; who waits for it fails. It is one that leaves the core to others."""

    def __init__(self, *, blocking: bool) -> None:
        assert blocking

    def record(self) -> None:
        """Come after what is queued."""

    def synchronize(self) -> None:
        """Wait."""
        pytest.fail("it waits for the device")


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch) -> list[torch.dtype]:
    """Kinds of tensors that went to the device from pinned memory; there is none without a GPU."""
    sent: list[torch.dtype] = []
    empty = torch.empty

    def unpinned(*sizes: Any, **named: Any) -> torch.Tensor:
        return empty(*sizes, **{name: value for name, value in named.items() if name != "pin_memory"})

    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: sent.append(self.dtype) or self)
    monkeypatch.setattr(torch, "empty", unpinned)
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    return sent


@has_fake_cuda
@pytest.mark.usefixtures("pinned")
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_a_round_waits_for_nothing(window: TextRequest, lane: Lane, temperature: float) -> None:
    """Windows that come, their steps, how they stand, and windows that begin anew: nothing is read, and what is sent
    is queued."""
    places = Places(lane)
    features = torch.empty(1500, DIMS.n_audio_state, device=CUDA, dtype=torch.float16)
    request = replace(window, temperatures=(temperature,), sound=features, is_encoded=True)
    entries = [TextEntry(request, Ticket()) for _ in range(3)]
    as_recorded = SimpleNamespace(run=lambda _key, step: step())
    lane.graphs = cast("Graphs", as_recorded)
    with launches() as counted:
        places.seat(entries)
        places.step(4)
        places.begin(entries[1])
        places.leave(entries[0])
        places.step(4)
        assert list(places.outcomes(ahead=2)) == []
    assert counted.waits == []


class GivesTheSame:
    """Records nothing: a step's tensors stay where they are, and nothing is launched when it is run again."""

    def record(self, step: Callable[[], Any]) -> Callable[[], Any]:
        """See Recorder."""
        given = step()
        return lambda: given


@has_fake_cuda
@pytest.mark.usefixtures("pinned")
def test_a_round_launches_little_beside_its_graphs(
    pair: Pair, window: TextRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three windows that come, four steps, how all stand, and the times of three windows' words: what is sent, packed
    and fetched, whatever the number of layers; all on the device, and nothing waits."""
    text = Text((50258, 50259, 50359, 50363), tuple(range(1000, 1030)), 2000)
    with fake_network(monkeypatch) as network:
        rules = TokenRules(Vocabulary.of(pair.tokenizer), DIMS.n_vocab, CUDA)
        features = torch.empty(1500, DIMS.n_audio_state, device=CUDA, dtype=torch.float16)
        request = replace(window, sound=features, is_encoded=True)
        places = Places(Lane(network, rules, windows=5, recording=Recording(GivesTheSame)))
        found = []
        for _ in range(2):  # what is launched the first time would be recorded
            entries = [TextEntry(request, Ticket()) for _ in range(3)]
            with launches() as counted:
                places.seat(entries)
                places.step(4)
                assert list(places.outcomes(ahead=1)) == []
                assert len(places.attend([(entry, text) for entry in entries])) == 3
            assert counted.waits == []
            found.append(sum(count for name, count in counted.names.items() if name not in VIEWS))
            for entry in entries:
                places.leave(entry)
            list(places.outcomes(ahead=2))
    assert found[0] > 500 and found[1] <= 50


@has_fake_cuda
def test_languages_are_detected_without_a_wait(
    pair: Pair, pinned: list[torch.dtype], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until somebody looks at them; their codes are on the device once the model is there."""
    with fake_network(monkeypatch) as network:
        detections = Detections(network, pair.tokenizer)
        features = torch.empty(3, 1500, DIMS.n_audio_state, device=CUDA, dtype=torch.float16)
        entries = [LanguageEntry(LanguageRequest(one), Ticket()) for one in features]
        with launches() as counted:
            detections.begin(entries, features)
    assert counted.waits == [] and pinned == [] and detections.entries == entries
    assert detections._passes[0].probable.shape == (3, 99) and detections._passes[0].probable.device.type == "cpu"


def test_the_encoders_sums_lie_in_one_order(pair: Pair) -> None:
    """A window after the other, each position's numbers together. The convolutions give them the other way round, and
    a sum of both kinds reads one of them sixteen times on a GPU."""
    found: list[tuple[str, bool]] = []

    class Orders(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
            result = function(*arguments, **(named or {}))
            if function.overloadpacket.__name__ in ("add", "native_layer_norm", "clone"):
                operands = [one for one in tree_leaves((arguments, result)) if isinstance(one, torch.Tensor)]
                found.append((str(function), all(one.is_contiguous() for one in operands)))
            return result

    with torch.no_grad(), Orders():
        features = pair.network.encode(torch.randn(2, DIMS.n_mels, 3000))
    assert features.is_contiguous()
    assert len(found) == 4 * DIMS.n_audio_layer + 2 and [one for one in found if not one[1]] == found[:1]


@has_fake_cuda
def test_a_spectrogram_waits_for_nothing(pinned: list[torch.dtype], monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples go to the GPU as they are, two bytes each, from pinned memory; no complex numbers need a compiler."""
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad(), launches() as counted:
        numbers = torch.empty(4, 7, device=CUDA, dtype=torch.complex64)
        assert magnitude(numbers).shape == (4, 7) and magnitude(numbers).device == CUDA
        mel = LogMel(np.zeros(32_000, np.int16), n_mels=80, peak=1.0, device=CUDA)
        for _ in range(2):  # the filters are sent once
            counted.waits.clear()
            assert mel.frames(0, 150).shape == (80, 150)
        assert pinned == [torch.int16] * 2 and counted.waits == []
        windows = [mel.window(0, 150, size=3000) for _ in range(3)]
        monkeypatch.setattr(Spectrograms, "_beside", lambda _: nullcontext())  # streams are the GPU's
        found = Spectrograms(CUDA).of(windows)
    assert {(tuple(one.shape), one.device) for one in found} == {((80, 3000), CUDA)}
    assert pinned.count(torch.int16) == 5 and counted.waits == []


def test_magnitudes_are_torchs_own() -> None:
    """On the CPU to the last bit; the way of a GPU is equal to them within rounding."""
    numbers = torch.randn(50, dtype=torch.complex64)
    assert torch.equal(magnitude(numbers), numbers.abs())
    assert torch.allclose(torch.view_as_real(numbers).square().sum(-1).sqrt(), numbers.abs(), rtol=1e-6)


class FakeGraph:
    """A CUDA graph as torch has it: what is asked of it is written down; it can be invalid at its end."""

    calls: list[str]
    invalid = False

    def capture_begin(self, **_: Any) -> None:
        """Begin."""
        self.calls.append("begin")

    def capture_end(self) -> None:
        """End."""
        self.calls.append("end")
        if self.invalid:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    def replay(self) -> None:
        """Run."""
        self.calls.append("replay")


class FakeStream:
    """A stream that can be entered."""

    device_index = 0

    def __init__(self, calls: list[str]) -> None:
        self.calls = calls

    def wait_stream(self, _other: object) -> None:
        """Wait."""

    def __enter__(self) -> None:
        self.calls.append("enter")

    def __exit__(self, *_: object) -> None:
        self.calls.append("leave")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What was called of torch.cuda, in order."""
    found: list[str] = []
    graphs._stream_to_record_on.cache_clear()
    monkeypatch.setattr(graphs, "enter_thread", lambda _: found.clear())
    monkeypatch.setattr(FakeGraph, "calls", found, raising=False)
    monkeypatch.setattr(FakeGraph, "invalid", False)
    name = "_cuda_endAllocateToPool"
    if not hasattr(torch._C, name):
        name = "_cuda_endAllocateCurrentStreamToPool"
    for owner, attribute, value in (
        (torch.cuda, "Stream", lambda _device: FakeStream(found)),
        (torch.cuda, "current_stream", lambda _device: None),
        (torch.cuda, "stream", lambda stream: stream),
        (torch.cuda, "CUDAGraph", FakeGraph),
        (torch.cuda, "graph_pool_handle", lambda: (0, 1)),
        (torch._C, name, lambda device, pool: found.append(f"leave pool {pool} of {device}")),
        (torch.cuda, "synchronize", lambda *_: pytest.fail("it waits for the device")),
        (torch.cuda, "empty_cache", lambda *_: found.append("empty_cache")),
    ):
        monkeypatch.setattr(owner, attribute, value)
    CudaRecorder(CUDA)  # makes the stream of all
    found.clear()
    yield found
    graphs._stream_to_record_on.cache_clear()


def test_a_capture_waits_for_nothing(calls: list[str]) -> None:
    """Neither for the device nor for the garbage collector, which waits itself: a graph or event that it freed would
    void the recording. It ends before its stream is left."""

    def step() -> None:
        calls.append("step")
        assert not gc.isenabled()

    CudaRecorder(CUDA).record(step)()
    assert calls == ["enter", "begin", "step", "end", "leave", "replay"] and gc.isenabled()


def test_all_captures_are_on_one_stream(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all lanes and models of a GPU: cuBLAS keeps 32 MB for each stream, and has them before the first recording."""
    made: list[object] = []
    monkeypatch.setattr(torch.cuda, "Stream", lambda _: made.append(FakeStream(calls)) or made[-1])
    monkeypatch.setattr(graphs, "enter_thread", lambda device: calls.append(f"product on {device}"))
    graphs._stream_to_record_on.cache_clear()
    recorders = [CudaRecorder(CUDA) for _ in range(3)]
    assert calls == ["enter", "product on cuda:0", "leave"]
    for recorder in recorders:
        recorder.record(lambda: None)
    assert len(made) == 1


def test_a_thread_works_on_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one's: else its events would be of the first one's stream, and come before the copies that they are
    for; a test of a worker has one GPU alone."""
    used: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", used.append)
    monkeypatch.setattr(torch, "ones", lambda *_, device: device)
    monkeypatch.setattr(torch, "mm", lambda one, other: used.append(one) if one == other else None)
    gpu_turns.enter_thread(torch.device("cuda:1"))
    assert used == [torch.device("cuda:1")] * 2


def test_a_capture_that_fails_leaves_its_stream_and_its_pool(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's own context manager stays on the stream, and its allocator in the capture, where its end fails, too."""
    monkeypatch.setattr(FakeGraph, "invalid", True)

    def step() -> None:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    with pytest.raises(RuntimeError, match="not permitted"):
        CudaRecorder(CUDA).record(step)
    assert calls == ["enter", "begin", "end", "leave pool (0, 1) of 0", "leave"]
    calls.clear()
    with pytest.raises(RuntimeError, match="previous error"):
        CudaRecorder(CUDA).record(lambda: None)
    assert gc.isenabled()
    assert calls == ["enter", "begin", "end", "end", "leave pool (0, 1) of 0", "leave"]


def test_each_thread_makes_its_first_product_on_the_stream_of_spectrograms(
    calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoder's next thread, too: torch 2.2 writes a table without a lock there. Once a thread."""
    entered: list[int] = []
    monkeypatch.setattr(torch, "hann_window", lambda *_, **__: None)
    monkeypatch.setattr(spectrograms, "enter_thread", lambda _: entered.append(threading.get_ident()))
    computed = Spectrograms(CUDA)

    def compute() -> None:
        for _ in range(2):
            with computed._beside():
                calls.append("compute")

    compute()
    thread = threading.Thread(target=compute)
    thread.start()
    thread.join(30)
    assert entered == [threading.get_ident(), thread.ident] and calls == ["enter", "compute", "leave"] * 4


def test_memory_is_given_back_between_captures(calls: list[str]) -> None:
    """A thread that wants to waits while another one records."""
    waiting = threading.Thread(target=gpu_turns.release_cached_memory)
    with gpu_turns.gpu_turn():
        waiting.start()
        waiting.join(0.05)
        assert waiting.is_alive() and calls == []
    waiting.join(30)
    assert calls == ["empty_cache"]


def test_first_products_of_threads_are_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of eight threads at once; on the CPU there is none."""
    inside, most = [0], [0]
    gate = threading.Barrier(8)

    def product(one: torch.Tensor, _other: torch.Tensor) -> torch.Tensor:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        threading.Event().wait(0.002)
        inside[0] -= 1
        return one

    def enter() -> None:
        gate.wait(30)
        gpu_turns.enter_thread(torch.device("meta"))

    monkeypatch.setattr(torch, "mm", product)
    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert most == [1]
    monkeypatch.setattr(torch, "mm", lambda *_: pytest.fail("there is no cuBLAS on a CPU"))
    gpu_turns.enter_thread(torch.device("cpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one: tests/gpu tries the kernels on it")
def test_why_steps_are_of_torchs_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log and the doctor have the reason: no GPU here, no C compiler, an old Triton, or the setting."""
    gpu = Device("cuda", "GPU-none", "a card")
    check = gpu_check._kernels_on(gpu, wanted=True)
    assert check.verdict is Verdict.WARN and "torch's own make the steps" in check.found and check.mend
    assert "WORKER_TRITON=0" in gpu_check._kernels_on(gpu, wanted=False).found
    monkeypatch.setenv("PATH", "")
    for wanted, reason in ((True, "Triton 2" if IS_OLD else "install gcc"), (False, "WORKER_TRITON=0")):
        network = SimpleNamespace(device=CUDA, dims=DIMS, dtype=torch.float16, kernels=None)
        with capture_logs() as logged:
            set_kernels(cast("Network", network), wanted=wanted)
        assert [line["event"] for line in logged] == ["step_kernels_off"] and reason in logged[0]["reason"]
        assert network.kernels is None and network.encoder_attention is by_torch
