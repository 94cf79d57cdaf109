"""The log-mel spectrogram of a whole recording, a window at a time, in bounded memory. Runs in the child.

openai-whisper computes it in one piece, over the recording and 30 s of zeros, and clamps it at the loudest point of
the whole file less 8: ten hours take 16 GB. Here a first pass finds that point, and each window is computed when its
turn comes, from the samples that its frames see, so that the values are the same. On a GPU several are computed at once
(spectrograms.py).
"""

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from whisper.audio import HOP_LENGTH, N_FFT, mel_filters

from btworker.engine.asr.decoding.memory import pinned, send
from btworker.engine.asr.spectrograms import FLOOR, WindowSamples
from btworker.engine.cooperate.ticket import checkpoint
from btworker.engine.stack.complex_numbers import magnitude

CHUNK_FRAMES = 12_000
"""Frames at a time in the first pass: two minutes, about 50 MB."""
CPU = torch.device("cpu")


class LogMel:
    """Log-mel frames of one recording; a frame is 10 ms and sees the 25 ms around it."""

    def __init__(
        self, samples: npt.NDArray[np.int16], *, n_mels: int, peak: float | None, device: torch.device = CPU
    ) -> None:
        """`peak` is that of the whole recording; None: of what is asked for."""
        self._samples = samples
        self._device = device
        self._n_mels = n_mels
        self.peak = peak
        self.content_frames = len(samples) // HOP_LENGTH
        """Frames of the recording itself; zeros follow."""

    def frames(self, start: int, count: int) -> torch.Tensor:
        """Compute frames `start` to `start + count`; shape (n_mels, count), float32 on the device."""
        log_spec = self._log_power(start, count)
        return (torch.maximum(log_spec, self._floor(log_spec)) + 4.0) / 4.0

    def stretch(self, start: int, count: int, *, size: int) -> torch.Tensor:
        """Compute the same, followed by silence up to `size` frames, as whisper was trained with after a recording."""
        log_spec = F.pad(self._log_power(start, count), (0, size - count), value=math.log10(FLOOR))
        return (torch.maximum(log_spec, self._floor(log_spec)) + 4.0) / 4.0

    def window(self, start: int, count: int, *, size: int) -> torch.Tensor | WindowSamples:
        """Compute the same on a CPU; on a GPU take the samples, for it to compute with other windows."""
        if self._device.type == "cpu":
            return self.stretch(start, count, size=size)
        return self.later(start, count)

    def later(self, start: int, count: int) -> WindowSamples:
        """Take the samples that these frames see."""
        first = start * HOP_LENGTH - N_FFT // 2
        samples = torch.from_numpy(_stretch(self._samples, first, first + (count - 1) * HOP_LENGTH + N_FFT))
        return WindowSamples(pinned(samples, self._device), count, self._n_mels, self.peak)

    def _log_power(self, start: int, count: int) -> torch.Tensor:
        power = _power(self._samples, start, count, n_mels=self._n_mels, device=self._device)
        return power.clamp(min=FLOOR).log10()

    def _floor(self, log_spec: torch.Tensor) -> torch.Tensor:
        """Compute the floor, 8 below the peak: 80 dB."""
        peak = log_spec.max() if self.peak is None else log_spec.new_full((), self.peak)
        return peak - 8.0


async def find_peak(samples: npt.NDArray[np.int16], *, n_mels: int, device: torch.device = CPU) -> float:
    """Find the largest log10 mel power of the recording."""
    loudest = torch.tensor(FLOOR, device=device)
    frames = len(samples) // HOP_LENGTH + 3  # the last ones reach beyond the end
    for start in range(0, frames, CHUNK_FRAMES):
        await checkpoint()
        power = _power(samples, start, min(CHUNK_FRAMES, frames - start), n_mels=n_mels, device=device)
        loudest = torch.maximum(loudest, power.max())
    return float(loudest.log10())


def _power(
    samples: npt.NDArray[np.int16], start: int, count: int, *, n_mels: int, device: torch.device
) -> torch.Tensor:
    first = start * HOP_LENGTH - N_FFT // 2
    stretch = _stretch(samples, first, first + (count - 1) * HOP_LENGTH + N_FFT)
    sound = send(torch.from_numpy(stretch), device).float() / 32768.0
    hann = torch.hann_window(N_FFT, device=device)
    stft = torch.stft(sound, N_FFT, HOP_LENGTH, window=hann, center=False, return_complex=True)
    power: torch.Tensor = mel_filters(sound.device, n_mels) @ (magnitude(stft) ** 2)
    return power


def _stretch(samples: npt.NDArray[np.int16], start: int, stop: int) -> npt.NDArray[np.int16]:
    """Copy samples `start` to `stop`, mirrored before the beginning as by torch.stft, zeros after the end."""
    out = np.zeros(stop - start, dtype=np.int16)
    low, high = max(start, 0), min(stop, len(samples))
    if high > low:
        out[low - start : high - start] = samples[low:high]
    if start < 0:
        out[:-start] = _stretch(samples, 1, 1 - start)[::-1]
    return out
