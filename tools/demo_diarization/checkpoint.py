"""Writes what pyannote.audio loads: lightning's checkpoint, with the class of the model and its specifications."""

from __future__ import annotations

import logging
from pathlib import Path

import lightning.pytorch as pl
from pyannote.audio.core.model import Model


def save(model: Model, path: Path) -> None:
    """A checkpoint without an optimizer's state."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # it tells which GPUs it does not use
    trainer = pl.Trainer(
        logger=False, enable_checkpointing=False, accelerator="cpu", max_epochs=0, enable_progress_bar=False
    )
    trainer.strategy.connect(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    trainer.save_checkpoint(path, weights_only=True)
