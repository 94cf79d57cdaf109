"""The network of an embedding in half precision, on a GPU: pyannote.audio runs it in float32, without TF32, which takes
an H100 several times as long for a recording as its text. Its convolutions are halved; spectrum, norms, pooling and
projection stay as they are.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from btworker.logs import get_logger

log = get_logger()
PROBE_S = 3.0
SAMPLE_RATE = 16_000
MOST_APART = 1e-3
"""Distance (1 - cosine) of the embeddings of noise by both precisions above which the network stays as it is. Two
people are one up to distances of 0.7."""
RESNET = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")
"""Parts of pyannote's WeSpeaker networks that follow each other, up to the pooling."""


def halve(embedding: Any, dtype: torch.dtype = torch.float16) -> bool:
    """Halve the network of pyannote's embedding where its embeddings stay the same; say whether that is so."""
    network = getattr(embedding, "model_", None)
    trunk = trunk_of(network)
    if not trunk or not isinstance(network, nn.Module):
        return False
    device = next(network.parameters()).device
    noise = 0.1 * torch.randn(2, 1, int(PROBE_S * SAMPLE_RATE), generator=torch.Generator().manual_seed(0))
    masks = torch.ones(2, 100)
    wanted = _embedded(embedding, noise, masks)
    whole = [(parameter, parameter.data) for one in _convolutions(trunk) for parameter in one.parameters()]
    hooks = [
        trunk[0].register_forward_pre_hook(lambda _, given: (given[0].to(dtype),)),
        trunk[-1].register_forward_hook(lambda _, __, made: made.float()),
    ]
    for parameter, values in whole:
        parameter.data = values.to(dtype)
    try:
        reason = _difference(_embedded(embedding, noise, masks), wanted)
    except RuntimeError as error:  # a device without such convolutions
        reason = (str(error).splitlines() or [type(error).__name__])[0]
    if reason:
        for hook in hooks:
            hook.remove()
        for parameter, values in whole:
            parameter.data = values
        log.warning("diarization_single_precision", reason=reason, device=str(device))
    return not reason


def trunk_of(network: Any) -> Sequence[nn.Module]:
    """List the parts of a network from its spectrum to its pooling, which follow each other; none of a network that
    nobody knows here."""
    if (resnet := getattr(network, "resnet", None)) is not None:
        return [getattr(resnet, name) for name in RESNET if hasattr(resnet, name)]
    trunk: Sequence[nn.Module] = getattr(network, "trunk", ())
    return trunk


def _convolutions(trunk: Sequence[nn.Module]) -> Iterator[nn.Conv1d | nn.Conv2d]:
    for part in trunk:
        for module in part.modules():
            if isinstance(module, nn.Conv1d | nn.Conv2d):
                yield module


def _embedded(embedding: Any, waveforms: Tensor, masks: Tensor) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = embedding(waveforms, masks=masks)
    return found


def _difference(found: npt.NDArray[np.float32], wanted: npt.NDArray[np.float32]) -> str:
    """Say why they are not the same; empty where they are."""
    lengths = np.linalg.norm(found, axis=-1) * np.linalg.norm(wanted, axis=-1)
    apart = float((1 - (found * wanted).sum(-1) / lengths).max())
    return "" if apart <= MOST_APART else f"its embeddings in half precision are {apart:.2g} apart from its own"
