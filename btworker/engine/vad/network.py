"""silero-vad's network, over all frames of a recording instead of one frame a call. Runs in the child.

The network takes frames of 512 samples (32 ms) and the 64 samples before each: a spectrum, four convolutions, an LSTM
and a sigmoid. Only the LSTM looks back. So everything before it is done for hundreds of frames at once, and the LSTM
runs over whole stretches in one call. The weights are those of the TorchScript module of the package, the probabilities
are its own but for float rounding (at most 1e-4 apart; tests/speech/test_vad.py).

The LSTM remembers long: of half an hour cut into strips of 16 s that each warm up for 4 s, one probability in seven was
off by more than 1e-3 and 75 frames changed sides; after 64 s of warming up it was still 4. So a GPU, which wants strips
side by side, goes over them again, each from the state in which the strip before it ended, until no such state changes
any more: what comes out is the whole's.

And it remembers noise: behind a minute of noise that is louder than the voice, much of the speech is missed
(docs/quality.md). So the LSTM is also run afresh over pieces of 4 s, one from every second on, and the mean chance of
the four in which a frame lies is given beside its own. One of them takes music for speech now and then; four do not.
"""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it

from btworker.engine.stack.complex_numbers import magnitude
from btworker.engine.stack.gpu_turns import all_bits
from btworker.engine.vad.spans import FRAME

CONTEXT = 64
"""Samples before a frame that the network takes with it."""
_FFT, _HOP, _MIRRORED = 256, 128, 64
_UNITS = 128
SETTLED = 1e-3
"""Largest change of an LSTM state that no longer matters: states reach 60, and 1e-3 of one moved no probability by more
than 4e-5 on half an hour of speech and noise."""

PIECE_FRAMES, HOP_FRAMES = 128, 32
"""A piece (4 s) begins afresh every 32 frames (1 s): of hops of 1 to 4 s and 4 to 8 pieces, what finds most speech
behind noise without more false speech (bench/real/noise.py)."""
OVERLAP_FRAMES = PIECE_FRAMES - HOP_FRAMES
"""How far before a frame's hop the first of its pieces begins."""

State = tuple[torch.Tensor, torch.Tensor]
"""The LSTM's hidden and cell state, each (1, lanes, 128)."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Chances of speech in some frames, from 0 to 1."""

    carried: npt.NDArray[np.float32]
    """silero's own: its memory goes through the whole recording."""
    fresh: npt.NDArray[np.float32]
    """The mean of pieces that remember the last seconds only."""
    state: State
    """After the last of these frames."""


class SpeechNetwork:
    """The network on one device. `lanes` strips of `lane_frames` frames are gone through side by side.

    A CPU is fastest with one strip: it needs no second pass. A GPU is idle with one.
    """

    def __init__(self, device: torch.device, *, lanes: int | None = None, lane_frames: int | None = None) -> None:
        on_gpu = device.type == "cuda"
        all_bits(device)
        self._device = device
        self._lanes = lanes or (64 if on_gpu else 1)
        self._lane_frames = lane_frames or (1792 if on_gpu else 4096)
        self._block_frames = 8192 if on_gpu else 512  # what a core's cache holds
        weights = {name: value.to(device) for name, value in _packaged_weights().items()}
        self._convolutions = [
            (weights[f"encoder.{n}.reparam_conv.weight"], weights[f"encoder.{n}.reparam_conv.bias"], stride)
            for n, stride in enumerate((1, 2, 2, 1))
        ]
        self._lstm = _lstm(weights).to(device)
        self._last = weights["decoder.decoder.2.weight"].flatten(), weights["decoder.decoder.2.bias"]
        self._hann = torch.hann_window(_FFT, device=device)

    def probabilities(self, samples: npt.NDArray[np.int16]) -> npt.NDArray[np.float32]:
        """Compute silero's chance of speech in each frame of 512 samples, from 0 to 1; zeros follow the last sample.

        `samples` are 16 kHz mono and may be a memory map.
        """
        parts = self.stretch(samples, 0, -(-len(samples) // FRAME), state=self.initial_state())
        return np.concatenate([np.empty(0, dtype=np.float32), *(part.carried for part in parts)])

    def stretch(self, samples: npt.NDArray[np.int16], start: int, stop: int, *, state: State) -> Iterator[Part]:
        """Compute the chances of frames `start` to `stop`, from the state after the frame before, in parts of about an
        hour (GPU) or two minutes (CPU)."""
        step = self._lanes * self._lane_frames
        for first in range(start, stop, step):
            part = self._part(samples, first, min(first + step, stop), state)
            yield part
            state = part.state

    @torch.inference_mode()
    def _part(self, samples: npt.NDArray[np.int16], start: int, stop: int, state: State) -> Part:
        before = start % HOP_FRAMES + OVERLAP_FRAMES
        features = self._features(samples, start - before, stop)
        carried, state = self._recur(features[before:], state)
        fresh = self._afresh(features)[start % HOP_FRAMES :]
        return Part(carried.cpu().numpy(), fresh.cpu().numpy(), state)

    def initial_state(self) -> State:
        """Before the first frame."""
        return self._still(1)

    def _features(self, samples: npt.NDArray[np.int16], start: int, stop: int) -> torch.Tensor:
        """Compute the LSTM's input for frames `start` to `stop`; shape (frames, 128)."""
        blocks = range(start, stop, self._block_frames)
        return torch.cat([self._encode(self._cut(samples, at, min(at + self._block_frames, stop))) for at in blocks])

    def _cut(self, samples: npt.NDArray[np.int16], start: int, stop: int) -> torch.Tensor:
        """Frames with their context, zeros where there are no samples; shape (frames, 576)."""
        first, end = start * FRAME - CONTEXT, stop * FRAME
        sound = np.zeros(end - first, dtype=np.int16)
        low, high = max(first, 0), min(end, len(samples))
        sound[low - first : high - first] = samples[low:high]
        frames: torch.Tensor = (
            torch.from_numpy(sound).to(self._device).float().div(32768.0).unfold(0, CONTEXT + FRAME, FRAME)
        )
        return frames

    def _encode(self, frames: torch.Tensor) -> torch.Tensor:
        pieces = F.pad(frames, (0, _MIRRORED), "reflect").unfold(1, _FFT, _HOP)
        # the network's own basis is a Hann window and a Fourier transform, which is quicker than its convolution
        features: torch.Tensor = magnitude(torch.fft.rfft(pieces * self._hann)).transpose(1, 2)
        for weight, bias, stride in self._convolutions:
            features = F.conv1d(features, weight, bias, stride=stride, padding=1).relu_()
        return features.squeeze(2)

    def _recur(self, features: torch.Tensor, state: State) -> tuple[torch.Tensor, State]:
        """Run the LSTM over a stretch that begins in `state`: probabilities, and the state at its end."""
        count = len(features)
        lanes = min(self._lanes, -(-count // self._lane_frames))
        length = -(-count // lanes)
        strips = F.pad(features, (0, 0, 0, lanes * length - count)).view(lanes, length, _UNITS).transpose(0, 1)
        starts = _joined(state, self._still(lanes - 1))
        hidden, ends = self._lstm(strips, starts)
        for _ in range(1, lanes):  # each pass makes one more strip exact for good; five or six do
            following = _joined(state, tuple(end[:, :-1] for end in ends))
            moved = max(float((new - old).abs().max()) for new, old in zip(following, starts, strict=True))
            if moved <= SETTLED:
                break
            starts = following
            hidden, ends = self._lstm(strips, starts)
        return self._chances(hidden).T.reshape(-1)[:count], (ends[0][:, -1:], ends[1][:, -1:])

    def _afresh(self, features: torch.Tensor) -> torch.Tensor:
        """Run the LSTM over overlapping pieces, each from the first state: the mean chance of the pieces in which a
        frame lies. `features` begin with a hop, and with OVERLAP_FRAMES more than there are values to return."""
        total = torch.zeros(len(features) - OVERLAP_FRAMES, device=self._device)
        for first in range(0, PIECE_FRAMES, HOP_FRAMES):  # these pieces follow each other
            count = len(features) - first
            pieces = F.pad(features[first:], (0, 0, 0, -count % PIECE_FRAMES)).view(-1, PIECE_FRAMES, _UNITS)
            hidden, _ = self._lstm(pieces.transpose(0, 1), self._still(len(pieces)))
            total += self._chances(hidden).T.reshape(-1)[OVERLAP_FRAMES - first : count]
        return total / (PIECE_FRAMES // HOP_FRAMES)

    def _chances(self, hidden: torch.Tensor) -> torch.Tensor:
        weight, bias = self._last
        return torch.sigmoid(hidden.relu() @ weight + bias)

    def _still(self, lanes: int) -> State:
        nothing = torch.zeros(1, lanes, _UNITS, device=self._device)
        return nothing, nothing


def _joined(first: State, others: tuple[torch.Tensor, ...]) -> State:
    return torch.cat([first[0], others[0]], dim=1), torch.cat([first[1], others[1]], dim=1)


def _lstm(weights: Mapping[str, torch.Tensor]) -> torch.nn.LSTM:
    lstm = torch.nn.LSTM(_UNITS, _UNITS)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    lstm.load_state_dict({f"{name}_l0": weights[f"decoder.rnn.{name}"] for name in names})
    return lstm.eval()


def _packaged_weights() -> Mapping[str, torch.Tensor]:
    """Load the 16 kHz network's weights. Not those of the package's .safetensors, which are of another training."""
    spec = find_spec("silero_vad")  # found, not imported: importing it sets torch's threads to 1 for the process
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("silero-vad is not installed: install the packages of locks/<stack>.txt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch 2.11 would rather have torch.export
        load: Any = torch.jit.load
        module = load(Path(spec.origin).parent / "data/silero_vad.jit", map_location="cpu")
    weights: Mapping[str, torch.Tensor] = module._model.state_dict()  # noqa: SLF001 - the 8 kHz one is _model_8k
    return weights
