"""Products with weights on a CPU. torch has MKL multiply float32, which arranges the weights anew for each product: of
the few rows of a step, that takes longer than the product itself. oneDNN, which torch comes with as well, has them
arranged once. Which is faster depends on the processor, so both are tried when a model is loaded.

Where the operator allows it, and the processor can, oneDNN multiplies numbers rounded to bfloat16 and adds up in
float32: the rest stays as it is.
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


@dataclass(frozen=True, slots=True)
class Products:
    """One way to multiply."""

    name: str
    """For logs."""
    arrange: Callable[[Tensor], Tensor]
    """Make of a weight what is kept of it."""
    linear: Linear
    arrange_words: Callable[[Tensor], Tensor]
    """Make of the tokens' matrix, which is kept transposed, what scores them; by default no second matrix."""
    tolerance: float = TOLERANCE
    """Of what is right, from torch's; what is wrong is far beyond."""
    rounds_to: torch.dtype | None = None
    """What the factors are rounded to."""


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


def _arrange_rounded(weight: Tensor) -> Tensor:
    return _arrange(weight.to(torch.bfloat16, memory_format=torch.contiguous_format))


def _linear_rounded(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product = _linear(x.bfloat16(), weight, None).float()
    return product if bias is None else product.add_(bias)


BY_TORCH = Products("torch", _as_it_is, F.linear, _as_it_is)
BY_ONEDNN = Products("onednn", _arrange, _linear, _as_it_is)
IN_BFLOAT16 = Products("bfloat16", _arrange_rounded, _linear_rounded, _arrange_rounded, 0.05, torch.bfloat16)


@torch.inference_mode()
def soonest(size: int, device: torch.device, dtype: torch.dtype) -> Products:
    """Try both with weights as large as some of a model of this size; on a GPU, torch's are taken."""
    if device.type != "cpu" or dtype != torch.float32:
        return BY_TORCH
    if not is_right(BY_ONEDNN, size):
        return BY_TORCH
    weights, x, bias = _some(size, MATRICES)
    arranged = [BY_ONEDNN.arrange(weight) for weight in weights]
    theirs_s, own_s = seconds_of(
        [partial(_all, BY_ONEDNN, x, arranged, bias), partial(_all, BY_TORCH, x, weights, bias)]
    )
    is_faster = theirs_s < WORTH * own_s
    log.info("cpu_products", onednn=is_faster, onednnMs=1000 * theirs_s, torchMs=1000 * own_s, rows=ROWS)
    return BY_ONEDNN if is_faster else BY_TORCH


@torch.inference_mode()
def is_right(products: Products, size: int) -> bool:
    """Compare them with torch's, on weights of a model of this size and numbers by chance."""
    weights, x, bias = _some(size, 1)
    words = weights[0].t().contiguous().t()  # as the tokens' matrix is
    wanted = BY_TORCH.linear(x, weights[0], bias)
    try:
        kept = products.arrange(weights[0]), products.arrange_words(words)
        found = [products.linear(some, one, bias) for some in (x, x[:1]) for one in kept]
    except (AttributeError, RuntimeError):  # this torch was built without it, or cannot on this machine
        return False
    # sums of so many numbers grow with the root of their number
    tolerance = products.tolerance * max(1.0, wanted.std().item())
    return all(torch.allclose(one, wanted[: len(one)], atol=tolerance, rtol=products.tolerance) for one in found)


def _some(size: int, matrices: int) -> tuple[Sequence[Tensor], Tensor, Tensor]:
    """Make weights, rows and a bias by chance."""
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn((4 * size, size), generator=generator) for _ in range(matrices)]
    return weights, torch.randn((ROWS, size), generator=generator), torch.randn(4 * size, generator=generator)


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
