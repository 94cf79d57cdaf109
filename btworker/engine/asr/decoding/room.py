"""How many windows are decoded at once: as many as there is memory for, and no more than bring something."""

import torch

from btworker.engine.asr.decoding.network import Network

MOST = {"cuda": 64, "cpu": 16}
"""Reading the sound of a window costs the same at every batch; beyond these it is nearly all that a step does."""
GPU_SHARE = 0.5
"""Of the memory that is free once the model is there; the rest is for what the passes need, and for speakers."""
CPU_BYTES = 2 << 30
"""For all windows together on a CPU, where more would take it from the machine's other work."""


def place_bytes(network: Network) -> int:
    """What a window's place takes: keys and values of the sound and of its own past, and its logits a few times."""
    dims = network.dims
    itemsize = torch.empty((), dtype=network.dtype).element_size()
    positions = dims.n_audio_ctx + dims.n_text_ctx
    return int(2 * dims.n_text_layer * positions * dims.n_text_state * itemsize + 8 * dims.n_vocab * 4)


def fitting_batch_size(network: Network) -> int:
    """Windows at once; at least one."""
    kind = network.device.type
    room = CPU_BYTES
    if kind == "cuda":
        free, _ = torch.cuda.mem_get_info(network.device)
        room = int(free * GPU_SHARE)
    return max(1, min(MOST[kind], room // place_bytes(network)))
