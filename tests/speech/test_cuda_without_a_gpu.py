"""What can be known of CUDA without a GPU: devices of tensors and launches, by fake CUDA tensors; why steps are made
without Triton's kernels. The order of calls at the seam to torch.cuda is in test_streams.py.
"""

import importlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from btworker.engine.asr.decoding.alignment import Text
from btworker.engine.asr.decoding.graphs import Graphs, Recording
from btworker.engine.asr.decoding.kernels import choosing
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
from btworker.engine.stack.complex_numbers import magnitude
from btworker.engine.stack.gpu_turns import OwnStream
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
        on_cpu = OwnStream(torch.device("cpu"), "spectrograms")  # streams are the GPU's
        monkeypatch.setattr(spectrograms, "OwnStream", lambda *_: on_cpu)
        found = Spectrograms(CUDA).of(windows)
    assert {(tuple(one.shape), one.device) for one in found} == {((80, 3000), CUDA)}
    assert pinned.count(torch.int16) == 5 and counted.waits == []


def test_magnitudes_are_torchs_own() -> None:
    """On the CPU to the last bit; the way of a GPU is equal to them within rounding."""
    numbers = torch.randn(50, dtype=torch.complex64)
    assert torch.equal(magnitude(numbers), numbers.abs())
    assert torch.allclose(torch.view_as_real(numbers).square().sum(-1).sqrt(), numbers.abs(), rtol=1e-6)


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


@pytest.mark.skipif(IS_OLD, reason="Triton 2.2 is not used")
@pytest.mark.parametrize("kind", ["OutOfResources", "PTXASError"])
def test_a_kernel_that_cannot_be_compiled_costs_no_model(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Steps are made of torch's own, and the reason is said. Triton's errors are of no kind that Python or torch has:
    those of its compiler, of ptxas, and of a GPU whose multiprocessors have too little memory."""
    error = getattr(importlib.import_module("triton.runtime.errors"), kind)
    raised = error(131_072, 101_376, "shared memory") if kind == "OutOfResources" else error("unsupported sm")

    def fails(*_: Any) -> Any:
        raise raised

    monkeypatch.setattr(choosing, "_fused", lambda _: None)
    monkeypatch.setattr(choosing, "_missing", lambda: None)
    monkeypatch.setattr(choosing, "differing", fails)
    assert choosing.why_not(CUDA, choosing.Sizes()) == str(raised)
