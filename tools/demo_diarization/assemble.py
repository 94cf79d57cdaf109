"""Puts the embedded pipeline together: both checkpoints, a config, and the PLDA that pyannote.audio 4 always loads.

The clustering is agglomerative in both versions and does not use the PLDA, so that it is the identity.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import numpy as np
import torch
import yaml

MIN_CLUSTER_SIZE = 12
"""Chunks (three a second) in which somebody speaks, before they count as one more person."""


def config(threshold: float) -> dict[str, object]:
    """A pipeline's config.yaml; paths are relative to its folder."""
    params = {
        "segmentation": "segmentation.ckpt",
        "embedding": "embedding.ckpt",
        "plda": "plda",
        "clustering": "AgglomerativeClustering",
        "embedding_exclude_overlap": True,
    }
    clustering = {"method": "centroid", "min_cluster_size": MIN_CLUSTER_SIZE, "threshold": threshold}
    return {
        "pipeline": {"name": "pyannote.audio.pipelines.SpeakerDiarization", "params": params},
        "params": {"clustering": clustering, "segmentation": {"min_duration_off": 0.0}},
    }


def write_plda(folder: Path, dimension: int) -> None:
    """The two files of a PLDA that changes nothing, under plda/."""
    zeros = np.zeros(dimension)
    (folder / "plda").mkdir(parents=True, exist_ok=True)
    np.savez(folder / "plda" / "xvec_transform.npz", mean1=zeros, mean2=zeros, lda=np.eye(dimension))
    np.savez(folder / "plda" / "plda.npz", mu=zeros, tr=np.eye(dimension), psi=np.linspace(2, 1, dimension))


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--segmentation", type=Path, required=True)
    parser.add_argument("--embedding", type=Path, required=True)
    parser.add_argument("--threshold", type=float, required=True, help="of the clustering")
    parser.add_argument("--out", type=Path, default=Path("btworker/demo/diarization"))
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(a.segmentation, a.out / "segmentation.ckpt")
    shutil.copyfile(a.embedding, a.out / "embedding.ckpt")
    checkpoint = torch.load(a.embedding, map_location="cpu", weights_only=False)
    write_plda(a.out, checkpoint["hyper_parameters"]["dimension"])
    (a.out / "config.yaml").write_text(yaml.safe_dump(config(a.threshold)))


if __name__ == "__main__":
    main()
