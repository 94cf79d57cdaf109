"""A pipeline with models of the shapes that people use and random weights: for speed, where none can be downloaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from pyannote.audio.models.embedding import WeSpeakerResNet34
from pyannote.audio.models.segmentation import PyanNet

from .assemble import config, write_plda
from .checkpoint import save
from .specifications import of_embedding, of_segmentation

CHUNK_S = 10.0
SPREAD = 3.0
"""Standard deviation of the logits over a recording: of a trained model's order, so that turns change."""


def segmentation(samples: NDArray[np.float32]) -> PyanNet:
    """As pyannote/segmentation-3.0. Logits are centred and scaled on `samples`: as they come, one class always wins."""
    model = PyanNet(
        sincnet={"stride": 10},
        lstm={"hidden_size": 128, "num_layers": 4, "bidirectional": True, "monolithic": True, "dropout": 0.0},
        linear={"hidden_size": 128, "num_layers": 2},
    )
    model.specifications = of_segmentation(CHUNK_S, people=3, at_once=2)
    model.build()
    model.eval()
    heard: list[torch.Tensor] = []
    hook = model.classifier.register_forward_hook(lambda _module, _inputs, output: heard.append(output.detach()))
    with torch.inference_mode():
        model(torch.from_numpy(samples[: int(CHUNK_S * 16_000)])[None, None])
    hook.remove()
    logits = heard[0].reshape(-1, heard[0].shape[-1])
    scale = SPREAD / logits.std(0)
    with torch.no_grad():
        model.classifier.weight.mul_(scale[:, None])
        model.classifier.bias.sub_(logits.mean(0)).mul_(scale)
    return model


def write_real_shapes(folder: Path, samples: NDArray[np.float32], seed: int = 0) -> Path:
    """The folder of a pipeline; `samples` are 10 s or more at 16 kHz."""
    torch.manual_seed(seed)
    embedding = WeSpeakerResNet34()
    embedding.specifications = of_embedding(CHUNK_S)
    save(segmentation(samples), folder / "segmentation.ckpt")
    save(embedding.eval(), folder / "embedding.ckpt")
    write_plda(folder, embedding.resnet.seg_1.out_features)
    (folder / "config.yaml").write_text(yaml.safe_dump(config(threshold=0.7)))
    return folder
