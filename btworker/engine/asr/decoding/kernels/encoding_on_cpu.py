"""The encoder's attention on a CPU: torch's own multiplies by MKL, in small blocks. Where oneDNN is sooner with the
weights (products.py), it may be with a head's keys and values, taken as weights, as well: both are tried when a model
is loaded. That holds for a thread with one core, as each has where jobs share them: several are fully used by torch's.
"""

from functools import partial
from itertools import product

import torch
from torch import Tensor

from btworker.engine.asr.decoding.kernels.encoding import Attention, by_torch
from btworker.engine.asr.decoding.kernels.products import BY_TORCH, TOLERANCE, WORTH, Products, seconds_of
from btworker.engine.stack.cores import divided, use_cores
from btworker.logs import get_logger

log = get_logger()
QUERIES = 250
"""Of a head at once: their scores of 1,500 positions, 1.5 MB, stay near the core, and more gain nothing."""
HEADS = 2
"""Of the trial."""


class ByProducts:
    """Attention of each head by itself, on one core, as products with its keys and with its values."""

    def __init__(self, products: Products) -> None:
        self._products = products

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """See Attention; heads of a position lie together in the result, as the next product takes them."""
        attended = torch.empty_like(query.transpose(1, 2), memory_format=torch.contiguous_format).transpose(1, 2)
        heads = list(product(range(query.shape[0]), range(query.shape[1])))
        cores = min(torch.get_num_threads(), len(heads))

        def share(number: int) -> None:
            for at in heads[number::cores]:
                self._attend(query[at], key[at], value[at], attended[at])

        divided([partial(share, number) for number in range(cores)])
        return attended

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, attended: Tensor) -> None:
        arrange, linear = self._products.arrange, self._products.linear
        keys, values = arrange(key.contiguous()), arrange(value.t().contiguous())
        for some, out in zip(torch.split(query, QUERIES), torch.split(attended, QUERIES), strict=True):
            out.copy_(linear(linear(some.contiguous(), keys, None).softmax(-1), values, None))


class OnOneCore:
    """An attention for threads that have one core; others have torch's."""

    def __init__(self, attend: Attention) -> None:
        self._attend = attend

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """See Attention."""
        attend = self._attend if torch.get_num_threads() == 1 else by_torch
        return attend(query, key, value)


def fastest_on_cpu(products: Products, positions: int, width: int) -> Attention:
    """Try both with heads of this size: that of the products where it gives what torch's gives, sooner. Where products
    are rounded, attention is as well, on any number of cores and without a trial: texts would depend on it."""
    if products is BY_TORCH:
        return by_torch
    attend = ByProducts(products)
    if products.rounds_to is not None:
        return attend
    cores = torch.get_num_threads()
    use_cores(1)
    try:
        return OnOneCore(attend) if _is_faster(attend, positions, width) else by_torch
    finally:
        use_cores(cores)


@torch.inference_mode()
def _is_faster(attend: ByProducts, positions: int, width: int) -> bool:
    """Compare them on numbers by chance, which lie as the encoder's product has them."""
    parts = torch.randn((1, positions, 3, HEADS, width), generator=torch.Generator().manual_seed(0))
    parts[:, :, 0] *= width**-0.5
    query, key, value = parts.permute(2, 0, 3, 1, 4)
    try:
        found = attend(query, key, value)
    except RuntimeError:  # not for numbers of this shape, or not on this machine
        return False
    if not torch.allclose(found, by_torch(query, key, value), atol=TOLERANCE, rtol=TOLERANCE):
        return False
    theirs_s, own_s = seconds_of([partial(one, query, key, value) for one in (attend, by_torch)])
    is_faster = theirs_s < WORTH * own_s
    log.info("encoder_attention", onednn=is_faster, onednnMs=1000 * theirs_s, torchMs=1000 * own_s, heads=HEADS)
    return is_faster
