"""Where a pyannote pipeline comes from and where it runs, or one sentence that says what is missing and what to do.

pyannote.audio takes seconds to import: this module does without, so that it is imported only where there is something
to load (loading.py).
"""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from btworker.specs import EngineSettings

HUB_PIPELINES = {3: "pyannote/speaker-diarization-3.1", 4: "pyannote/speaker-diarization-community-1"}
"""The pretrained pipeline of each major version of pyannote.audio."""


MOST_CHUNKS = (256, 128)
"""Of a segmentation and of an embedding: a GPU is busy with as many, and a cancel waits for no more than that."""
CHUNK_BYTES = (24 * 2**20, 48 * 2**20)
"""Memory of a chunk of 10 s, by the shapes of community-1 in float32: four times the largest step of the segmentation
(80 x 15,975 numbers), and of the embedding (32 x 80 x 998)."""
MEMORY_SHARE = 0.25
"""Share of the free memory: windows of other files are decoded beside this."""
CONFIG = "config.yaml"
MODEL_FIELDS = ("segmentation", "embedding", "plda")
MISSING = "missing"


class DiarizationError(Exception):
    """Why speakers cannot be told apart here: one sentence for ping and for the warnings of jobs."""


class NotSetUpError(DiarizationError):
    """Nobody set a pipeline up here, which is no fault."""


def where_to_load_from(settings: EngineSettings) -> Path | str:
    """Return the operator's folder, or the name of the pretrained pipeline. Raises DiarizationError."""
    name = HUB_PIPELINES.get(pyannote_major(), HUB_PIPELINES[4])
    if settings.diarization_pipeline is not None:
        return settings.diarization_pipeline
    if settings.offline and not _is_cached(name):
        kind = NotSetUpError if settings.hf_token is None else DiarizationError
        raise kind(
            f"{name} is not in the cache of huggingface.co's files, and WORKER_OFFLINE forbids to download it: "
            "carry it there, or set WORKER_DIARIZATION_PIPELINE to a folder with a pipeline"
        )
    if settings.hf_token is None and not settings.offline:
        raise NotSetUpError(
            f"no token for {name}: accept its conditions on huggingface.co and set HF_TOKEN, "
            "or set WORKER_DIARIZATION_PIPELINE to a folder with a pipeline"
        )
    return name


def _is_cached(name: str) -> bool:
    from huggingface_hub import try_to_load_from_cache  # late: half a second, for nothing where a folder is named

    return isinstance(try_to_load_from_cache(name, CONFIG), str)


def check(settings: EngineSettings, *, on_gpu: bool, mismatch: str = "") -> None:
    """Look at all that can be seen without pyannote.audio. Raises DiarizationError.

    `mismatch` is why pyannote.audio cannot work in this environment; empty where it can.
    """
    if mismatch:
        raise DiarizationError(mismatch)
    source = where_to_load_from(settings)
    diarization_device(settings, on_gpu=on_gpu)
    if pyannote_version() == MISSING:
        raise DiarizationError("pyannote.audio is not installed; install the pinned set again")
    if isinstance(source, Path):
        params = read_config(source)["pipeline"].get("params", {})
        for field in MODEL_FIELDS:
            if isinstance(value := params.get(field), str) and not (field == "plda" and pyannote_major() == 3):
                file_of(source, value)


def read_config(folder: Path) -> dict[str, Any]:
    """Read what the folder's config.yaml says, with the part `pipeline`. Raises DiarizationError."""
    path = folder / CONFIG
    if not path.is_file():
        raise DiarizationError(f"{path} is missing: WORKER_DIARIZATION_PIPELINE names a folder with one")
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DiarizationError(f"{path} cannot be read as YAML ({type(error).__name__})") from None
    if not isinstance(config, dict) or not isinstance(config.get("pipeline"), dict):
        raise DiarizationError(f"{path} describes no pipeline of pyannote.audio")
    return config


def file_of(folder: Path, value: str) -> Path | None:
    """Find the file or folder that a config means; None for a model of huggingface.co. Raises DiarizationError."""
    path = folder / value.removeprefix("$model/")
    if path.exists():
        return path
    if value.startswith("$model/") or value.count("/") != 1 or value.endswith((".ckpt", ".bin", ".pt", ".onnx")):
        raise DiarizationError(f"{path} is missing, which {folder / CONFIG} names; copy it there")
    return None


def diarization_device(settings: EngineSettings, *, on_gpu: bool) -> str:
    """ "cuda:0" or "cpu". Raises DiarizationError for cuda in a child without a GPU."""
    if settings.diarization_device == "cuda" and not on_gpu:
        raise DiarizationError("DIARIZATION_DEVICE=cuda, but this worker has no GPU; set it to auto or cpu")
    return "cuda:0" if on_gpu and settings.diarization_device != "cpu" else "cpu"


def batch_sizes(device: str, cores: int, free_bytes: int) -> tuple[int, int]:
    """(segmentation, embedding): chunks of 10 s at a time. A GPU wants many: as many as a share of the memory that is
    free there has room for. On a CPU each core has a few, but one in the network of an embedding, which fills the
    caches already (bench/diarization.py)."""
    if not device.startswith("cuda"):
        return 4 * cores, cores
    room = int(free_bytes * MEMORY_SHARE)
    segmentation, embedding = (
        max(1, min(most, room // chunk)) for most, chunk in zip(MOST_CHUNKS, CHUNK_BYTES, strict=True)
    )
    return segmentation, embedding


def pyannote_version() -> str:
    try:
        return version("pyannote.audio")
    except PackageNotFoundError:
        return MISSING


def pyannote_major() -> int:
    first = pyannote_version().partition(".")[0]
    return int(first) if first.isdecimal() else 0
