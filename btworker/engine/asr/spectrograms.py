"""Spectrograms of several windows at once, on a GPU: by the decoder, which encodes them next, on a stream of its own,
so that they do not wait for the steps that are queued. Runs in the child.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from whisper.audio import HOP_LENGTH, N_FFT, N_FRAMES, mel_filters

from btworker.engine.asr.decoding.memory import send
from btworker.engine.stack.complex_numbers import magnitude
from btworker.engine.stack.gpu_turns import OwnStream

FLOOR = 1e-10
"""Power below which nothing is told apart."""


@dataclass(frozen=True, slots=True, eq=False)
class WindowSamples:
    """Samples of a window whose spectrogram is computed with others'."""

    samples: Tensor
    """int16, those that the frames see; pinned where they go to a GPU."""
    frames: int
    """Silence follows them, up to the size of a window."""
    n_mels: int
    peak: float | None
    """See LogMel."""


class Spectrograms:
    """Computes them on one device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._hann = torch.hann_window(N_FFT, device=device)
        self._stream = OwnStream(device, "spectrograms")

    def of(self, windows: Sequence[Tensor | WindowSamples]) -> list[Tensor]:
        """Give those that are there, and compute the others, as LogMel.stretch(): (n_mels, 3000) each, on the device.
        Waits for nothing."""
        later = [window for window in windows if isinstance(window, WindowSamples)]
        computed = iter(self._compute(later) if later else ())
        return [next(computed) if isinstance(window, WindowSamples) else window for window in windows]

    def _compute(self, stretches: Sequence[WindowSamples]) -> Tensor:
        with self._stream.entered():
            log_spec = self._log_power(stretches)
            frames = send(torch.tensor([stretch.frames for stretch in stretches]), self._device)
            silent = torch.arange(N_FRAMES, device=self._device) >= frames[:, None]
            log_spec.masked_fill_(silent[:, None], math.log10(FLOOR))
            asked = [math.nan if stretch.peak is None else stretch.peak for stretch in stretches]
            known = send(torch.tensor(asked, dtype=torch.float32), self._device)
            peak = torch.where(known.isnan(), log_spec.amax((1, 2)), known)[:, None, None]
            found = (torch.maximum(log_spec, peak - 8.0) + 4.0) / 4.0
        self._stream.give(found)
        return found

    def _log_power(self, stretches: Sequence[WindowSamples]) -> Tensor:
        shape = (len(stretches), (N_FRAMES - 1) * HOP_LENGTH + N_FFT)
        sound = torch.zeros(shape, dtype=torch.int16, device=self._device)
        for row, stretch in zip(sound, stretches, strict=True):
            row[: len(stretch.samples)].copy_(stretch.samples, non_blocking=True)
        wave = sound.float() / 32768.0
        stft = torch.stft(wave, N_FFT, HOP_LENGTH, window=self._hann, center=False, return_complex=True)
        power: Tensor = mel_filters(self._device, stretches[0].n_mels) @ (magnitude(stft) ** 2)
        return power.clamp(min=FLOOR).log10()
