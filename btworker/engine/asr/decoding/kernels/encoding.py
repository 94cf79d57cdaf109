"""The encoder's attention on a GPU: torch takes flash attention, and never cuDNN's, which is faster on some. Both are
tried when a model is loaded, in passes as large as they get; smaller ones, each of which cuDNN would have to plan for
anew, are torch's.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from torch import Tensor

from btworker.logs import get_logger

log = get_logger()
Attention = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of queries, whose scale is in them, to keys, for values: (windows, heads, positions, head size) each."""
WINDOWS = 16
"""Of a pass of the encoder; more gain nothing."""
TOLERANCE = 0.01
"""Half precision rounds by a tenth of it."""
TRIES = 5
WORTH = 0.97
"""Share of the time below which the other one is taken: less is chance."""


def by_torch(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend as torch chooses."""
    return F.scaled_dot_product_attention(query, key, value, scale=1.0)


def by_cudnn(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend by cuDNN. Raises AttributeError in torch 2.2, which has none, RuntimeError where it cannot."""
    operator: Any = getattr(torch, "ops").aten._scaled_dot_product_cudnn_attention  # noqa: B009, SLF001 - no other way
    attended: Tensor = operator(query, key, value, None, False, scale=1.0)[0]
    return attended


class OfFullPasses:
    """An attention for passes of WINDOWS windows; others are torch's."""

    def __init__(self, full: Attention) -> None:
        self._full = full

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """See Attention."""
        attend = self._full if query.shape[0] == WINDOWS else by_torch
        return attend(query, key, value)


def fastest(heads: int, positions: int, width: int, dtype: torch.dtype, device: torch.device) -> Attention:
    """Try both: cuDNN's where it gives what torch gives, sooner."""
    try:
        is_faster = _is_faster((WINDOWS, heads, positions, width), dtype, device)
    except (AttributeError, AssertionError, RuntimeError):  # torch asserts that it was built with CUDA
        return by_torch
    return OfFullPasses(by_cudnn) if is_faster else by_torch


@torch.inference_mode()
def _is_faster(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> bool:
    """Compare them on numbers by chance, which lie as the encoder's product has them: cuDNN plans for that."""
    windows, heads, positions, width = shape
    product = torch.randn((1, positions, 3, heads, width), generator=torch.Generator().manual_seed(0))
    product[:, :, 0] *= width**-0.5
    laid_out = product.to(device, dtype).expand(windows, *product.shape[1:]).contiguous()
    query, key, value = laid_out.permute(2, 0, 3, 1, 4)
    found, wanted = (attend(query, key, value).float() for attend in (by_cudnn, by_torch))
    if not torch.allclose(found, wanted, atol=TOLERANCE, rtol=TOLERANCE):
        return False
    theirs_s, own_s = (seconds_of(partial(attend, query, key, value)) for attend in (by_cudnn, by_torch))
    is_faster = theirs_s < WORTH * own_s
    log.info("encoder_attention", cudnn=is_faster, cudnnMs=1000 * theirs_s, torchMs=1000 * own_s, windows=windows)
    return is_faster


def seconds_of(run: Callable[[], object]) -> float:
    """Measure it by the device's own clock: the best of some tries."""
    times: list[float] = []
    for _ in range(TRIES):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()  # type: ignore[no-untyped-call]
        run()
        end.record()  # type: ignore[no-untyped-call]
        end.synchronize()  # type: ignore[no-untyped-call]
        times.append(begin.elapsed_time(end) / 1000)  # type: ignore[no-untyped-call]
    return min(times)
