"""Streams, threads and captures without a GPU: what is called of torch.cuda, in which order and by whom."""

import gc
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from btworker.engine.asr.decoding.graphs import CudaRecorder
from btworker.engine.asr.mel import LogMel
from btworker.engine.asr.spectrograms import Spectrograms
from btworker.engine.stack import gpu_turns
from btworker.engine.stack.gpu_turns import OwnStream

pytestmark = [pytest.mark.speech, pytest.mark.timeout(120)]
CUDA = torch.device("cuda:0")


class FakeGraph:
    """A CUDA graph as torch has it: what is asked of it is written down; it can fail to begin, or be invalid at its
    end."""

    calls: list[str]
    fails_to_begin = invalid = False

    def capture_begin(self, **_: Any) -> None:
        """Begin."""
        self.calls.append("begin")
        if self.fails_to_begin:
            raise RuntimeError("CUDA error: operation not permitted")

    def capture_end(self) -> None:
        """End."""
        self.calls.append("end")
        if self.invalid:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    def replay(self) -> None:
        """Run."""
        self.calls.append("replay")


class FakeStream:
    """A stream that can be entered; each thread is on one, at first on the device's own."""

    def __init__(self, calls: list[str], name: str) -> None:
        self.calls = calls
        self.name = name

    def wait_stream(self, other: "FakeStream") -> None:
        """Wait."""
        self.calls.append(f"{self.name} waits for {other.name}")

    def __enter__(self) -> None:
        self.calls.append("enter")
        self._before, _here.stream = torch.cuda.current_stream(), self  # type: ignore[assignment]

    def __exit__(self, *_: object) -> None:
        self.calls.append("leave")
        _here.stream = self._before


_here = threading.local()
"""Of each thread: its stream, once it has entered one."""


@pytest.fixture
def made() -> list[FakeStream]:
    """Streams that were asked for, in order."""
    return []


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, made: list[FakeStream]) -> Iterator[list[str]]:
    """What was called of torch.cuda, in order; products by thread and stream, waits between streams."""
    found: list[str] = []
    default = FakeStream(found, "default")
    gpu_turns._stream_for.cache_clear()

    def current(_device: object = None) -> FakeStream:
        return getattr(_here, "stream", default)

    def product(_device: torch.device) -> None:
        found.append(f"first product of {threading.current_thread().name} on {current().name}")

    def stream(_device: torch.device) -> FakeStream:
        made.append(FakeStream(found, f"stream {len(made)}"))
        return made[-1]

    monkeypatch.setattr(gpu_turns, "enter_thread", product)
    monkeypatch.setattr(FakeGraph, "calls", found, raising=False)
    name = "_cuda_endAllocateToPool"
    if not hasattr(torch._C, name):
        name = "_cuda_endAllocateCurrentStreamToPool"
    for owner, attribute, value in (
        (torch.cuda, "Stream", stream),
        (torch.cuda, "current_stream", current),
        (torch.cuda, "stream", lambda stream: stream),
        (torch.cuda, "CUDAGraph", FakeGraph),
        (torch.cuda, "graph_pool_handle", lambda: (0, 1)),
        (torch._C, name, lambda device, pool: found.append(f"leave pool {pool} of {device}")),
        (torch.cuda, "synchronize", lambda *_: pytest.fail("it waits for the device")),
        (torch.cuda, "empty_cache", lambda *_: found.append("empty_cache")),
    ):
        monkeypatch.setattr(owner, attribute, value)
    yield found
    gpu_turns._stream_for.cache_clear()


@pytest.fixture
def recorder(calls: list[str]) -> CudaRecorder:
    """One by which this thread has recorded before."""
    found = CudaRecorder(CUDA)
    found.record(lambda: None)
    calls.clear()
    return found


BEGUN = ["stream 0 waits for default", "enter", "begin"]


def test_a_capture_waits_for_nothing(recorder: CudaRecorder, calls: list[str]) -> None:
    """Neither for the device nor for the garbage collector, which waits itself: a graph or event that it freed would
    void the recording. It ends before its stream is left."""

    def step() -> None:
        calls.append("step")
        assert not gc.isenabled()

    recorder.record(step)()
    assert calls == [*BEGUN, "step", "end", "leave", "replay"] and gc.isenabled()


def test_streams_are_few_however_many_models_come_and_go(calls: list[str], made: list[FakeStream]) -> None:
    """One to record on, of all lanes, and one for spectrograms: cuBLAS keeps 32 MB for each, and torch has 32 of them;
    the next one would be the first again, where other threads would be at work while a step is recorded."""
    for _ in range(40):
        CudaRecorder(CUDA)
        OwnStream(CUDA, "spectrograms")
    assert len(made) == 2 and calls[:2] == ["stream 0 waits for default", "stream 1 waits for default"]


def test_each_thread_has_made_a_product_where_it_records(calls: list[str]) -> None:
    """Before it records: what cuBLAS keeps for it there would be taken from a graph's memory, for good. Steps are
    recorded by the thread that loads a model, and later by the decoder's."""
    recorder, threads = CudaRecorder(CUDA), [threading.Thread(name=name) for name in ("loader", "decoder")]
    for thread in threads:
        thread.run = lambda: [recorder.record(lambda: None) for _ in range(2)]  # type: ignore[method-assign]
        calls.clear()
        thread.start()
        thread.join(30)
        waits, enters, begins = BEGUN
        product = f"first product of {thread.name} on stream 0"
        assert calls == [waits, enters, product, begins, "end", "leave", *BEGUN, "end", "leave"]


def test_first_products_and_captures_are_one_after_the_other(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A capture has its turn to itself; the product before it had its own, and none is waited for twice."""
    turns: list[bool] = []
    monkeypatch.setattr(gpu_turns, "enter_thread", lambda _: turns.append(gpu_turns._TURN.locked()))
    CudaRecorder(CUDA).record(lambda: turns.append(gpu_turns._TURN.locked()))
    assert turns == [False, True] and not gpu_turns._TURN.locked()


def test_a_thread_works_on_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one's: else its events would be of the first one's stream, and come before the copies that they are
    for; a test of a worker has one GPU alone."""
    used: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "set_device", used.append)
    monkeypatch.setattr(torch, "ones", lambda *_, device: device)
    monkeypatch.setattr(torch, "mm", lambda one, other: used.append(one) if one == other else None)
    gpu_turns.enter_thread(torch.device("cuda:1"))
    assert used == [torch.device("cuda:1")] * 2


def test_a_capture_that_fails_leaves_its_stream_and_its_pool(
    recorder: CudaRecorder, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch's own context manager stays on the stream, and its allocator in the capture, where its end fails, too."""
    monkeypatch.setattr(FakeGraph, "invalid", True)

    def step() -> None:
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    with pytest.raises(RuntimeError, match="not permitted"):
        recorder.record(step)
    assert calls == [*BEGUN, "end", "leave pool (0, 1) of 0", "leave"]
    calls.clear()
    with pytest.raises(RuntimeError, match="previous error"):
        recorder.record(lambda: None)
    assert gc.isenabled()
    assert calls == [*BEGUN, "end", "end", "leave pool (0, 1) of 0", "leave"]


def test_a_capture_that_does_not_begin_leaves_its_pool(
    recorder: CudaRecorder, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Torch chooses its memory first: what is allocated afterwards would be a graph's, and none could be given back."""
    monkeypatch.setattr(FakeGraph, "fails_to_begin", True)
    with pytest.raises(RuntimeError, match="not permitted"):
        recorder.record(lambda: pytest.fail("it has not begun"))
    assert calls == [*BEGUN, "end", "leave pool (0, 1) of 0", "leave"] and gc.isenabled()


def test_spectrograms_and_the_decoder_wait_for_each_other(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Those for the window of the transform, once; the decoder for them, whose memory is not given away before it has
    read them. Each thread makes its first product there: torch 2.2 writes a table without a lock then."""
    used: list[tuple[tuple[int, ...], str]] = []
    monkeypatch.setattr(
        torch.Tensor, "record_stream", lambda self, stream: used.append((tuple(self.shape), stream.name))
    )
    samples = LogMel(np.zeros(32_000, np.int16), n_mels=80, peak=1.0).later(0, 150)
    computed = Spectrograms(torch.device("cpu"))
    computed._stream = OwnStream(CUDA, "spectrograms")  # as on a GPU, but for its tensors
    assert calls == ["stream 0 waits for default"]

    def compute() -> None:
        for _ in range(2):
            computed.of([samples, samples])

    threads = [threading.Thread(target=compute, name=name) for name in ("one", "next")]
    for thread in threads:
        calls.clear()
        thread.start()
        thread.join(30)
        product, waits = f"first product of {thread.name} on stream 0", "default waits for stream 0"
        assert calls == ["enter", product, "leave", waits, "enter", "leave", waits]
    assert used == [((2, 80, 3000), "default")] * 4


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
