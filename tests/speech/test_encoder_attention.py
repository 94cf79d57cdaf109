"""Which attention the encoder has: on a GPU cuDNN's where it is right and sooner, in passes that are full; on a CPU
oneDNN's where that is."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from btworker.engine.asr.decoding.kernels import encoding, encoding_on_cpu
from btworker.engine.asr.decoding.kernels.encoding import OfFullPasses, by_cudnn, by_torch, fastest
from btworker.engine.asr.decoding.kernels.encoding_on_cpu import QUERIES, ByProducts, OnOneCore, fastest_on_cpu
from btworker.engine.asr.decoding.kernels.products import BY_ONEDNN, BY_TORCH, Linear
from btworker.engine.stack.cores import divided, use_cores
from tests.speech.fake_cuda import has_fake_cuda

pytestmark = [pytest.mark.speech, pytest.mark.timeout(60)]
CPU = torch.device("cpu")


@has_fake_cuda
def test_cudnn_takes_what_the_encoder_gives() -> None:
    """Views of one product, as torch 2.11 declares it; what comes out is laid out for the next product."""
    with FakeTensorMode():
        product = torch.empty(16, 1500, 3 * 1280, device="cuda:0", dtype=torch.float16)
        found = by_cudnn(*product.view(16, 1500, 3, 20, 64).permute(2, 0, 3, 1, 4))
        assert found.shape == (16, 20, 1500, 64) and found.dtype is torch.float16
        assert found.transpose(1, 2).is_contiguous()


def test_a_device_that_has_no_cudnn_has_torchs() -> None:
    """A CPU; nothing is measured."""
    assert fastest(2, 20, 8, torch.float32, CPU) is by_torch


@pytest.mark.parametrize(
    ("other", "share", "is_taken"),
    [
        (by_torch, 0.8, True),
        (by_torch, 0.99, False),
        (lambda query, key, value: by_torch(query, key, value) + 0.1, 0.5, False),
        (lambda query, key, value: by_torch(query, key, value) * torch.nan, 0.5, False),
    ],
)
def test_the_sooner_one_is_taken_where_it_is_right(
    monkeypatch: pytest.MonkeyPatch, other: Callable[..., Tensor], share: float, is_taken: bool
) -> None:
    """In full passes alone."""
    calls: list[int] = []

    def counted(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        calls.append(len(query))
        return other(query, key, value)

    times = iter((share, 1.0))
    monkeypatch.setattr(encoding, "by_cudnn", counted)
    monkeypatch.setattr(encoding, "seconds_of", lambda _run: next(times))
    found: Any = fastest(2, 20, 8, torch.float32, CPU)
    assert isinstance(found, OfFullPasses) is is_taken
    calls.clear()
    for windows in (encoding.WINDOWS, 3):
        query, key, value = torch.randn(3, windows, 20, 8)
        assert torch.equal(found(query, key, value), by_torch(query, key, value))
    assert calls == ([encoding.WINDOWS] if is_taken else [])


def _heads(windows: int, positions: int, heads: int, width: int) -> Tensor:
    """Query, key and value, as the encoder's product has them."""
    product = torch.randn((windows, positions, 3, heads, width), generator=torch.Generator().manual_seed(1))
    return product.permute(2, 0, 3, 1, 4)


@pytest.mark.parametrize("positions", [QUERIES - 1, 2 * QUERIES + 7])
def test_by_products_gives_what_torch_gives(positions: int) -> None:
    """Of several windows and heads, whether or not the positions are whole blocks; laid out for the next product."""
    query, key, value = _heads(windows=3, positions=positions, heads=4, width=16)
    found = ByProducts(BY_ONEDNN)(query, key, value)
    assert torch.allclose(found, by_torch(query, key, value), atol=1e-5, rtol=1e-5)
    assert found.transpose(1, 2).is_contiguous()


def test_by_products_a_window_that_is_no_number_stays_alone() -> None:
    """All of that window is none, and nothing of its neighbours."""
    query, key, value = _heads(windows=3, positions=20, heads=2, width=8).clone()
    key[1, 0, 5] = torch.nan
    is_nan = ByProducts(BY_ONEDNN)(query, key, value).isnan()
    assert is_nan[1, 0].all() and not is_nan[[0, 2]].any() and not is_nan[1, 1].any()


def _wrong(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return BY_ONEDNN.linear(x, weight, bias) + 0.1


def _refused(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    raise RuntimeError("could not create a primitive")


@pytest.mark.parametrize(
    ("linear", "share", "is_taken"),
    [(BY_ONEDNN.linear, 0.8, True), (BY_ONEDNN.linear, 0.99, False), (_wrong, 0.5, False), (_refused, 0.5, False)],
)
def test_on_a_cpu_the_sooner_one_is_taken_where_it_is_right(
    monkeypatch: pytest.MonkeyPatch, linear: Linear, share: float, is_taken: bool
) -> None:
    """Wrong numbers, or none at all, are torch's; so is what gains too little to be sure of."""
    monkeypatch.setattr(encoding_on_cpu, "seconds_of", lambda _runs: (share, 1.0))
    before = torch.get_num_threads()
    found = fastest_on_cpu(replace(BY_ONEDNN, linear=linear), 20, 8)
    assert isinstance(found, OnOneCore) is is_taken and (is_taken or found is by_torch)
    assert torch.get_num_threads() == before


def test_where_torch_multiplies_it_attends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is tried: blocks of MKL's products are what torch's own attention is made of."""
    monkeypatch.setattr(encoding_on_cpu, "seconds_of", lambda _runs: pytest.fail("tried"))
    assert fastest_on_cpu(BY_TORCH, 20, 8) is by_torch


@pytest.mark.parametrize("cores", [1, 2, 3, 16])
def test_heads_are_divided_among_cores(cores: int) -> None:
    """To the same numbers, each head on one; what the thread had is left as it was. More cores than heads stay idle."""
    query, key, value = _heads(windows=2, positions=30, heads=3, width=8)
    counts: list[int] = []

    def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        counts.append(torch.get_num_threads())
        return BY_ONEDNN.linear(x, weight, bias)

    attend, before = ByProducts(replace(BY_ONEDNN, linear=linear)), torch.get_num_threads()
    wanted = attend(query, key, value)
    try:
        use_cores(cores)
        counts.clear()
        with torch.inference_mode():
            found = attend(query.clone(), key, value)
        assert torch.get_num_threads() == cores
    finally:
        use_cores(before)
    assert torch.equal(found, wanted) and found.is_inference() and counts == [1] * 12


def test_a_thread_with_more_cores_has_torchs() -> None:
    """Its own is for one core."""
    some, before = _heads(windows=1, positions=20, heads=2, width=8), torch.get_num_threads()
    taken: list[int] = []
    attend = OnOneCore(
        lambda query, key, value: (taken.append(torch.get_num_threads()), by_torch(query, key, value))[1]
    )
    try:
        for cores in (1, 2):
            use_cores(cores)
            assert torch.equal(attend(*some), by_torch(*some))
    finally:
        use_cores(before)
    assert taken == [1]


def test_what_goes_wrong_on_another_core_is_raised() -> None:
    """Once all are through: nobody writes to what the caller has given up."""
    ended: list[str] = []

    def fail() -> None:
        raise RuntimeError("no memory")

    before = torch.get_num_threads()
    for shares in ([lambda: ended.append("own"), fail], [fail, lambda: ended.append("other")]):
        with pytest.raises(RuntimeError, match="no memory"):
            divided(shares)
    assert ended == ["own", "other"] and torch.get_num_threads() == before
