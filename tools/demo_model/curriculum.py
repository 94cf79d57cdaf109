"""What the model is trained on, in which order and at which learning rates."""

from __future__ import annotations

from dataclasses import dataclass

from .windows import Style

_PLAIN = Style()


@dataclass(frozen=True)
class Stage:
    """A part of the training: which windows, for how many steps, at which learning rates."""

    mix: tuple[tuple[float, int], ...]  # window in seconds and batch size, drawn evenly
    prompted_share: float  # of the batches
    steps: int
    lr: float
    lr_end: float
    warmup: int = 10
    takes: int = 1  # of each window in a batch with prompts, each with another prompt
    frozen_encoder: bool = False
    style: Style = _PLAIN


CURRICULUM = (
    Stage(mix=((4, 16),), prompted_share=0, steps=700, lr=2e-3, lr_end=1.8e-3, warmup=150),
    Stage(mix=((4, 14), (8, 7)), prompted_share=0.05, steps=350, lr=1.8e-3, lr_end=1.5e-3),
    Stage(mix=((8, 7), (16, 3)), prompted_share=0.15, steps=250, lr=1.5e-3, lr_end=1.2e-3),
    Stage(mix=((12, 5), (30, 2)), prompted_share=0.3, steps=500, lr=1.2e-3, lr_end=8e-4),
    Stage(mix=((30, 3),), prompted_share=0.5, steps=600, lr=8e-4, lr_end=1e-4),
    Stage(mix=((30, 3),), prompted_share=0.5, steps=500, lr=6e-4, lr_end=4e-5),
    Stage(mix=((30, 3),), prompted_share=0.5, steps=220, lr=3e-4, lr_end=2e-5),
)

# What recordings of several minutes ask of the decoder: prompts of full length, and alike sentences in them.
_LONG = Style(full_prompt_share=0.7, alike_share=0.25, slip_share=0.06, last_share=0.3, timed_share=(0.5, 0.9))
FINE_TUNING = (
    Stage(
        mix=((30, 4),), prompted_share=0.7, steps=480, lr=4e-4, lr_end=1e-5, warmup=30, takes=3, frozen_encoder=True,
        style=_LONG,
    ),
)  # fmt: skip
