"""The speaker embedding of the embedded diarization pipeline: a small time-delay network over log-mel energies.

Checkpoints name this module and class: pyannote.audio imports them when it loads one. tools/demo_diarization trains it.
"""

import torch
from pyannote.audio.core.model import Model
from pyannote.audio.core.task import Task
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.transforms import MelSpectrogram

SAMPLE_RATE = 16_000
MEL_BANDS = 40
FLOOR = 1e-6
LEAST_FRAMES = 1e-3
"""Smallest divisor, for a mask without an active frame."""


class TinyEmbedding(Model):  # type: ignore[misc]  # pyannote carries no types
    """An x-vector (Snyder et al. 2018, https://doi.org/10.1109/ICASSP.2018.8461375) of 0.3 million parameters.

    What is computed of the sound does not depend on who is asked for: the mask enters at the pooling alone.
    """

    def __init__(
        self,
        sample_rate: int = SAMPLE_RATE,
        num_channels: int = 1,
        channels: int = 192,
        dimension: int = 64,
        task: Task | None = None,
    ) -> None:
        super().__init__(sample_rate=sample_rate, num_channels=num_channels, task=task)
        self.save_hyperparameters("sample_rate", "num_channels", "channels", "dimension")
        self.mel = MelSpectrogram(sample_rate, n_fft=400, hop_length=160, n_mels=MEL_BANDS, f_max=7600.0, center=True)
        widths = [(MEL_BANDS, 5, 1), (channels, 3, 2), (channels, 3, 3), (channels, 1, 1)]
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv1d(width, channels, kernel, dilation=dilation, padding=dilation * (kernel - 1) // 2),
                nn.BatchNorm1d(channels),
                nn.ReLU(),
            )
            for width, kernel, dilation in widths
        )
        self.project = nn.Linear(2 * channels, dimension)

    @property
    def dimension(self) -> int:
        """Numbers in an embedding."""
        return int(self.hparams["dimension"])

    @property
    def trunk(self) -> list[nn.Module]:
        """Parts from the spectrum to the pooling, each of which takes what the one before it gives."""
        return list(self.layers)

    def frames(self, waveforms: Tensor) -> Tensor:
        """(batch, 1, samples) to (batch, channels, frames of 10 ms)."""
        logs = torch.log(self.mel(waveforms.squeeze(1)) + FLOOR)
        hidden = (logs - logs.amax(dim=(1, 2), keepdim=True)) / 5 + 1
        for layer in self.layers:
            hidden = layer(hidden)
        return hidden

    def pool(self, frames: Tensor, weights: Tensor) -> Tensor:
        """(batch, channels, frames) and (batch, speakers, frames of any length) to (batch, speakers, dimension)."""
        mask = functional.interpolate(weights, size=frames.shape[-1], mode="nearest")
        total = mask.sum(-1, keepdim=True).clamp_min(LEAST_FRAMES)
        mean = torch.einsum("bct,bst->bsc", frames, mask) / total
        square = torch.einsum("bct,bst->bsc", frames.square(), mask) / total
        deviation = (square - mean.square()).clamp_min(1e-5).sqrt()
        embedding: Tensor = self.project(torch.cat([mean, deviation], dim=-1))
        return embedding

    def forward(self, waveforms: Tensor, weights: Tensor | None = None) -> Tensor:
        """(batch, 1, samples), with weights (batch, frames) to (batch, dimension), or with (batch, speakers, frames) to
        (batch, speakers, dimension)."""
        if weights is None:
            weights = waveforms.new_ones(waveforms.shape[0], 1)
        if weights.dim() == 3:
            return self.pool(self.frames(waveforms), weights)
        return self.pool(self.frames(waveforms), weights[:, None])[:, 0]
