"""Products with weights on a CPU. torch has MKL multiply float32, which arranges the weights anew for each product: of
the few rows of a step, that takes longer than the product itself. oneDNN, which torch comes with as well, has them
arranged once. Which is faster depends on the processor, so both are tried when a model is loaded.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from torch import Tensor

from btworker.logs import get_logger

log = get_logger()
Linear = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(…, in), a weight of shape (out, in) as it is kept, and a bias, (out,) or None: (…, out)."""
ROWS = 16
"""Of the trial: windows at once on a CPU."""
MATRICES, TRIES = 4, 5
WORTH = 0.9
"""Share of the time below which oneDNN's is taken: less is chance."""
TOLERANCE = 1e-3
"""What is wrong is far beyond."""


@dataclass(frozen=True, slots=True)
class Products:
    """One way to multiply."""

    name: str
    """For logs."""
    arrange: Callable[[Tensor], Tensor]
    """Make of a weight what is kept of it."""
    linear: Linear


def _as_it_is(weight: Tensor) -> Tensor:
    return weight


def _arrange(weight: Tensor) -> Tensor:
    arranged: Tensor = _operators()._reorder_linear_weight(weight)  # noqa: SLF001 - that of torch's own compiler
    return arranged


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Multiply by oneDNN; weights that are not arranged may be transposed."""
    product: Tensor = _operators()._linear_pointwise(x, weight, bias, "none", [], "")  # noqa: SLF001 - as above
    return product


def _operators() -> Any:
    return getattr(torch, "ops").mkldnn  # noqa: B009 - torch does not say that it has them


BY_TORCH = Products("torch", _as_it_is, F.linear)
BY_ONEDNN = Products("onednn", _arrange, _linear)


@torch.inference_mode()
def soonest(size: int, device: torch.device, dtype: torch.dtype) -> Products:
    """Try both with weights as large as some of a model of this size; on a GPU, torch's are taken."""
    if device.type != "cpu" or dtype != torch.float32:
        return BY_TORCH
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn((4 * size, size), generator=generator) for _ in range(MATRICES)]
    x, bias = torch.randn((ROWS, size), generator=generator), torch.randn(4 * size, generator=generator)
    try:
        arranged = [BY_ONEDNN.arrange(weight) for weight in weights]
        transposed = weights[0].t().contiguous().t()  # as the tokens' matrix is
        found = [BY_ONEDNN.linear(some, kept, bias) for some in (x, x[:1]) for kept in (arranged[0], transposed)]
        wanted = BY_TORCH.linear(x, weights[0], bias)
    except (AttributeError, RuntimeError):  # this torch was built without it, or cannot on this machine
        return BY_TORCH
    if not all(torch.allclose(one, wanted[: len(one)], atol=TOLERANCE, rtol=TOLERANCE) for one in found):
        return BY_TORCH
    theirs_s, own_s = seconds_of(
        [partial(_all, BY_ONEDNN, x, arranged, bias), partial(_all, BY_TORCH, x, weights, bias)]
    )
    is_faster = theirs_s < WORTH * own_s
    log.info("cpu_products", onednn=is_faster, onednnMs=1000 * theirs_s, torchMs=1000 * own_s, rows=ROWS)
    return BY_ONEDNN if is_faster else BY_TORCH


def _all(products: Products, x: Tensor, weights: Sequence[Tensor], bias: Tensor) -> None:
    for weight in weights:
        products.linear(x, weight, bias)


def seconds_of(runs: Sequence[Callable[[], object]]) -> list[float]:
    """Measure some in turns: the best of some tries each."""
    best_s = [float("inf")] * len(runs)
    for _ in range(TRIES):
        for number, run in enumerate(runs):
            began = time.perf_counter()
            run()
            best_s[number] = min(best_s[number], time.perf_counter() - began)
    return best_s
