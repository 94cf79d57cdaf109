"""What both trainers share: the learning rate's schedule, the running means and the command line."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import torch
from pyannote.audio.core.model import Model

from .bank import Bank
from .checkpoint import save

WARM_UP_STEPS = 100
REPORT_STEPS = 50
MEMORY = 0.97
"""Of a running mean."""


def falling_rate(optimizer: torch.optim.Optimizer, steps: int, least: float) -> torch.optim.lr_scheduler.LambdaLR:
    """Up in a hundred steps, then down in a straight line, to `least` of the peak."""
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, (step + 1) / WARM_UP_STEPS) * max(least, 1 - step / steps)
    )


class Diary:
    """Prints how training goes and saves the model, every fifty steps."""

    def __init__(self, model: Model, out: Path, steps: int) -> None:
        self._model, self._out, self._steps = model, out, steps
        self._began = time.monotonic()
        self._mean: float | None = None

    def note(self, step: int, loss: float, more: str = "") -> None:
        """One step is done."""
        self._mean = loss if self._mean is None else MEMORY * self._mean + (1 - MEMORY) * loss
        if step % REPORT_STEPS == REPORT_STEPS - 1:
            passed_s = time.monotonic() - self._began
            print(f"{step + 1} of {self._steps}, loss {self._mean:.3f}, {more}{passed_s:.0f} s", flush=True)
            save(self._model, self._out)


def run(train: Callable[..., None], about: str | None, *, steps: int, batch: int, seed: int) -> None:
    """Train and save, as the command line says; the numbers are its defaults."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--bank", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--seed", type=int, default=seed)
    a = parser.parse_args()
    torch.manual_seed(a.seed)
    train(Bank(a.bank), steps=a.steps, batch=a.batch, seed=a.seed, out=a.out)
