"""What the machine could do at best: bytes and floating-point operations of a model's passes, and the time they need.

Pure. The encoder and the projection of its output are bound by arithmetic; a step reads the decoder's weights once for
all windows, and each window's sound and past.
"""

from dataclasses import dataclass
from typing import Protocol


class Dims(Protocol):
    """openai-whisper's ModelDimensions, as far as they matter here."""

    n_mels: int
    n_audio_ctx: int
    n_audio_state: int
    n_audio_layer: int
    n_vocab: int
    n_text_state: int
    n_text_layer: int


@dataclass(frozen=True)
class Machine:
    """What was measured of it in the same run."""

    bytes_per_s: float
    flop_per_s: float


def encoder_flop(dims: Dims) -> float:
    """Of one window."""
    size, positions = dims.n_audio_state, dims.n_audio_ctx
    convolutions = 2 * 3 * (dims.n_mels * size * 2 * positions + size**2 * positions)
    return convolutions + dims.n_audio_layer * positions * (24 * size**2 + 4 * positions * size)


def cross_projection_flop(dims: Dims) -> float:
    """Of one window: keys and values of the sound for each layer of the decoder."""
    return dims.n_text_layer * dims.n_audio_ctx * 4 * dims.n_text_state * dims.n_audio_state


def step_weights(dims: Dims) -> int:
    """Numbers of the decoder that a step reads: its layers without the cross projection, and the vocabulary."""
    return dims.n_text_layer * 14 * dims.n_text_state**2 + dims.n_vocab * dims.n_text_state


def cross_numbers(dims: Dims) -> int:
    """Keys and values of one window's sound."""
    return dims.n_text_layer * 2 * dims.n_audio_ctx * dims.n_text_state


def past_numbers(dims: Dims) -> int:
    """Keys and values of one token."""
    return dims.n_text_layer * 2 * dims.n_text_state


def step_s(dims: Dims, machine: Machine, *, batch: int, history: float, itemsize: int) -> float:
    """Seconds of one step of `batch` windows with so many tokens behind them: of bytes or arithmetic, the longer."""
    each = cross_numbers(dims) + past_numbers(dims) * history
    read_s = (step_weights(dims) + batch * each) * itemsize / machine.bytes_per_s
    flop = 2 * batch * (step_weights(dims) + each)
    return max(read_s, flop / machine.flop_per_s)


def decode_s(dims: Dims, machine: Machine, *, batch: int, tokens: float, itemsize: int) -> float:
    """Seconds of the decoder for one of `batch` windows: the sound's projection, and `tokens` steps."""
    step = step_s(dims, machine, batch=batch, history=tokens / 2, itemsize=itemsize)
    return cross_projection_flop(dims) / machine.flop_per_s + tokens * step / batch


def window_s(dims: Dims, machine: Machine, *, batch: int, tokens: float, itemsize: int) -> float:
    """The same with the encoder."""
    decoder_s = decode_s(dims, machine, batch=batch, tokens=tokens, itemsize=itemsize)
    return encoder_flop(dims) / machine.flop_per_s + decoder_s
