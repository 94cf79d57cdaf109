"""Complex numbers on a GPU. Runs in the child."""

import torch


def magnitude(x: torch.Tensor) -> torch.Tensor:
    """Compute the magnitude of complex numbers. torch compiles abs() of them at its first use on a GPU, for which
    nvrtc's files have to be there; on a CPU it is whisper's own way, to the last bit."""
    return x.abs() if x.device.type == "cpu" else torch.view_as_real(x).square().sum(-1).sqrt()
