"""Which attention the encoder has on a GPU: cuDNN's where it is right and sooner, in passes that are full."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from btworker.engine.asr.decoding.kernels import encoding
from btworker.engine.asr.decoding.kernels.encoding import OfFullPasses, by_cudnn, by_torch, fastest
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
        query, key, value = torch.randn(3, windows, 2, 20, 8)
        assert torch.equal(found(query, key, value), by_torch(query, key, value))
    assert calls == ([encoding.WINDOWS] if is_taken else [])
