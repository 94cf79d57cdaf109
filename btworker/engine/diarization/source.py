"""Where a pyannote pipeline comes from and where it runs, or one sentence that says what is missing and what to do.

pyannote.audio takes seconds to import: this module does without, so that it is imported only where there is something
to load (loading.py).
"""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from btworker.specs import EngineSettings

HUB_PIPELINES = {3: "pyannote/speaker-diarization-3.1", 4: "pyannote/speaker-diarization-community-1"}
"""The pretrained pipeline of each major version of pyannote.audio."""


class DiarizationError(Exception):
    """Why speakers cannot be told apart here: one sentence for ping and for the warnings of jobs."""


def where_to_load_from(settings: EngineSettings) -> Path | str:
    """Return the operator's folder, or the name of the pretrained pipeline. Raises DiarizationError."""
    name = HUB_PIPELINES.get(pyannote_major(), HUB_PIPELINES[4])
    if settings.diarization_pipeline is not None:
        return settings.diarization_pipeline
    if settings.hf_token is None and not settings.offline:
        raise DiarizationError(
            f"no token for {name}: accept its conditions on huggingface.co and set HF_TOKEN, "
            "or set WORKER_DIARIZATION_PIPELINE to a folder with a pipeline"
        )
    return name


def diarization_device(settings: EngineSettings, *, on_gpu: bool) -> str:
    """ "cuda:0" or "cpu". Raises DiarizationError for cuda in a child without a GPU."""
    if settings.diarization_device == "cuda" and not on_gpu:
        raise DiarizationError("DIARIZATION_DEVICE=cuda, but this worker has no GPU; set it to auto or cpu")
    return "cuda:0" if on_gpu and settings.diarization_device != "cpu" else "cpu"


def batch_sizes(device: str, cores: int) -> tuple[int, int]:
    """(segmentation, embedding): chunks of 10 s at a time. A GPU wants many. On a CPU each core has a few, but one in
    the network of an embedding, which fills the caches already (bench/diarization.py)."""
    return (64, 32) if device.startswith("cuda") else (4 * cores, cores)


def pyannote_version() -> str:
    try:
        return version("pyannote.audio")
    except PackageNotFoundError:
        return "missing"


def pyannote_major() -> int:
    first = pyannote_version().partition(".")[0]
    return int(first) if first.isdecimal() else 0
