"""CAM++ as a speaker embedding that pyannote.audio takes: Wang et al. 2023, https://arxiv.org/abs/2303.00332.

The network is that of 3D-Speaker (Apache-2.0) with its names, so that its published weights fit. What is ours is the
pooling: masks of speakers enter there alone, so that all speakers of a chunk share one pass. Checkpoints name this
module and class: pyannote.audio imports them when it loads one. bench/real/pipeline_folder.py makes one.
"""

from functools import partial

import torch
from pyannote.audio.core.model import Model
from pyannote.audio.core.task import Task
from pyannote.audio.models.blocks.pooling import StatsPool
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.compliance import kaldi

SAMPLE_RATE = 16_000
MEL_BANDS = 80
DIMENSION = 192
MAPS = 32
"""Channels of the convolutions over time and frequency."""
FIRST_WIDTH = 128
GROWTH = 32
"""Channels that each layer of a block adds."""
BOTTLENECK = 128
BLOCKS = ((12, 1), (24, 2), (16, 2))
"""(layers, dilation) of each block."""
CONTEXT_FRAMES = 100
"""Frames of 20 ms that a layer's mask takes in beside the whole chunk."""


class _Residual(nn.Module):
    """Two convolutions over (frequency, time), which leave the time as it is."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(MAPS, MAPS, 3, stride=(stride, 1), padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(MAPS)
        self.conv2 = nn.Conv2d(MAPS, MAPS, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(MAPS)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut = nn.Sequential(
                nn.Conv2d(MAPS, MAPS, 1, stride=(stride, 1), bias=False), nn.BatchNorm2d(MAPS)
            )

    def forward(self, maps: Tensor) -> Tensor:
        hidden = functional.relu(self.bn1(self.conv1(maps)))
        return functional.relu(self.bn2(self.conv2(hidden)) + self.shortcut(maps))


class _Head(nn.Module):
    """(batch, bands, frames) to (batch, channels, frames)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, MAPS, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(MAPS)
        self.layer1 = nn.Sequential(_Residual(2), _Residual(1))
        self.layer2 = nn.Sequential(_Residual(2), _Residual(1))
        self.conv2 = nn.Conv2d(MAPS, MAPS, 3, stride=(2, 1), padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(MAPS)

    def forward(self, bands: Tensor) -> Tensor:
        maps = functional.relu(self.bn1(self.conv1(bands[:, None])))
        maps = functional.relu(self.bn2(self.conv2(self.layer2(self.layer1(maps)))))
        return maps.flatten(1, 2)


def _norm(channels: int) -> nn.Sequential:
    norm = nn.Sequential()
    norm.add_module("batchnorm", nn.BatchNorm1d(channels))
    norm.add_module("relu", nn.ReLU())
    return norm


class _First(nn.Module):
    """The layer that halves the number of frames."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(channels, FIRST_WIDTH, 5, stride=2, padding=2, bias=False)
        self.nonlinear = _norm(FIRST_WIDTH)

    def forward(self, frames: Tensor) -> Tensor:
        found: Tensor = self.nonlinear(self.linear(frames))
        return found


class _Masked(nn.Module):
    """A convolution whose channels are weighed by what goes on around (context-aware masking)."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.linear_local = nn.Conv1d(BOTTLENECK, GROWTH, 3, padding=dilation, dilation=dilation, bias=False)
        self.linear1 = nn.Conv1d(BOTTLENECK, BOTTLENECK // 2, 1)
        self.linear2 = nn.Conv1d(BOTTLENECK // 2, GROWTH, 1)

    def forward(self, frames: Tensor) -> Tensor:
        parts = functional.avg_pool1d(frames, CONTEXT_FRAMES, CONTEXT_FRAMES, ceil_mode=True)
        near = parts.repeat_interleave(CONTEXT_FRAMES, dim=-1)[..., : frames.shape[-1]]
        context = functional.relu(self.linear1(frames.mean(-1, keepdim=True) + near))
        weighed: Tensor = self.linear_local(frames) * torch.sigmoid(self.linear2(context))
        return weighed


class _Layer(nn.Module):
    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.nonlinear1 = _norm(channels)
        self.linear1 = nn.Conv1d(channels, BOTTLENECK, 1, bias=False)
        self.nonlinear2 = _norm(BOTTLENECK)
        self.cam_layer = _Masked(dilation)

    def forward(self, frames: Tensor) -> Tensor:
        found: Tensor = self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(frames))))
        return found


class _Block(nn.Module):
    """Layers, each of which has all channels before it as its input."""

    def __init__(self, channels: int, layers: int, dilation: int) -> None:
        super().__init__()
        for number in range(layers):
            self.add_module(f"tdnnd{number + 1}", _Layer(channels + number * GROWTH, dilation))

    def forward(self, frames: Tensor) -> Tensor:
        for layer in self.children():
            frames = torch.cat([frames, layer(frames)], dim=1)
        return frames


class _Narrowing(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.nonlinear = _norm(channels)
        self.linear = nn.Conv1d(channels, channels // 2, 1, bias=False)

    def forward(self, frames: Tensor) -> Tensor:
        found: Tensor = self.linear(self.nonlinear(frames))
        return found


class _Projection(nn.Module):
    """(…, channels) to (…, dimension)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(channels, DIMENSION, 1, bias=False)
        self.nonlinear = nn.Sequential()
        self.nonlinear.add_module("batchnorm", nn.BatchNorm1d(DIMENSION, affine=False))

    def forward(self, pooled: Tensor) -> Tensor:
        rows = self.linear(pooled.reshape(-1, pooled.shape[-1], 1))
        found: Tensor = self.nonlinear(rows)[..., 0]
        return found.reshape(*pooled.shape[:-1], -1)


class CamPlusPlus(Model):  # type: ignore[misc]  # pyannote carries no types
    """7 million parameters; 192 numbers of a voice."""

    def __init__(self, sample_rate: int = SAMPLE_RATE, num_channels: int = 1, task: Task | None = None) -> None:
        super().__init__(sample_rate=sample_rate, num_channels=num_channels, task=task)
        self.save_hyperparameters("sample_rate", "num_channels")
        self.head = _Head()
        self.xvector = nn.Sequential()
        self.xvector.add_module("tdnn", _First(MAPS * MEL_BANDS // 8))
        channels = FIRST_WIDTH
        for number, (layers, dilation) in enumerate(BLOCKS, 1):
            self.xvector.add_module(f"block{number}", _Block(channels, layers, dilation))
            channels += layers * GROWTH
            self.xvector.add_module(f"transit{number}", _Narrowing(channels))
            channels //= 2
        self.xvector.add_module("out_nonlinear", _norm(channels))
        self.pool = StatsPool()
        self.xvector.add_module("dense", _Projection(2 * channels))

    @property
    def dimension(self) -> int:
        """Numbers in an embedding."""
        return DIMENSION

    @property
    def trunk(self) -> list[nn.Module]:
        """Parts from the spectrum to the pooling, each of which takes what the one before it gives."""
        return [self.head, *list(self.xvector.children())[:-1]]

    def frames(self, waveforms: Tensor) -> Tensor:
        """(batch, 1, samples) to (batch, channels, frames of 20 ms)."""
        energies = partial(kaldi.fbank, num_mel_bins=MEL_BANDS, sample_frequency=self.hparams.sample_rate)
        bands = torch.vmap(energies)(waveforms)
        hidden: Tensor = (bands - bands.mean(1, keepdim=True)).transpose(1, 2)
        for layer in self.trunk:
            hidden = layer(hidden)
        return hidden

    def forward(self, waveforms: Tensor, weights: Tensor | None = None) -> Tensor:
        """(batch, 1, samples), with weights (batch, frames) to (batch, dimension), or with (batch, speakers, frames) to
        (batch, speakers, dimension)."""
        found: Tensor = self.xvector.dense(self.pool(self.frames(waveforms), weights=weights))
        return found
