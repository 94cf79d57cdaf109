"""Settings -> a loaded pyannote pipeline, or one sentence that says what is missing and what to do.

pyannote.audio takes seconds to import, so that it is imported only where there is something to load.
"""

import tempfile
import warnings
from contextlib import redirect_stdout
from importlib.metadata import PackageNotFoundError, version
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from btworker.logs import get_logger
from btworker.specs import EngineSettings

if TYPE_CHECKING:
    import torch
    from pyannote.audio import Pipeline

log = get_logger()
HUB_PIPELINES = {3: "pyannote/speaker-diarization-3.1", 4: "pyannote/speaker-diarization-community-1"}
"""The pretrained pipeline of each major version of pyannote.audio."""
CONFIG = "config.yaml"
MODEL_FIELDS = ("segmentation", "embedding", "plda")
LONGEST_REASON = 300
"""Characters of a library's own message in ours."""


class DiarizationError(Exception):
    """Why speakers cannot be told apart here: one sentence for ping and for the warnings of jobs."""


def where_to_load_from(settings: EngineSettings) -> Path | str:
    """The operator's folder, or the name of the pretrained pipeline. Raises DiarizationError."""
    name = HUB_PIPELINES.get(_major(), HUB_PIPELINES[4])
    if settings.diarization_pipeline is not None:
        return settings.diarization_pipeline
    if settings.hf_token is None and not settings.offline:
        raise DiarizationError(
            f"no token for {name}: accept its conditions on huggingface.co and set HF_TOKEN, "
            "or set WORKER_DIARIZATION_PIPELINE to a folder with a pipeline"
        )
    return name


def load_pipeline(settings: EngineSettings, device: "torch.device") -> "Pipeline":
    """The pipeline on its device. Raises DiarizationError."""
    source = where_to_load_from(settings)
    where = str(source) if isinstance(source, Path) else f"{source} (huggingface.co)"
    said = StringIO()  # pyannote prints its advice, and standard output is our log
    try:
        with redirect_stdout(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pipeline = _from_folder(source) if isinstance(source, Path) else _from_hub(source, settings.hf_token)
            if pipeline is not None:
                pipeline.to(device)
    except DiarizationError:
        raise
    except Exception as error:  # an edge: a pipeline is code and files of others, and no failure of it may stop a child
        log.warning("diarization_load_failed", pipeline=where, error=type(error).__name__, exc_info=True)
        raise DiarizationError(_why(source, error)) from error
    if pipeline is None:
        raise DiarizationError(_not_ours(str(source)))
    return pipeline


def _from_hub(name: str, token: str | None) -> "Pipeline | None":
    from pyannote.audio import Pipeline

    return Pipeline.from_pretrained(name, **({"use_auth_token": token} if _major() == 3 else {"token": token}))


def _from_folder(folder: Path) -> "Pipeline | None":
    from pyannote.audio import Pipeline

    with tempfile.TemporaryDirectory(prefix="btworker-pipeline-") as place:
        return Pipeline.from_pretrained(_staged(folder, Path(place)))


def _staged(folder: Path, place: Path) -> Path:
    """A copy of the folder's config in `place`, whose files are links with neutral names there.

    pyannote reads relative paths from the current folder, and guesses a model's kind from words in its path.
    """
    import yaml

    config_file = folder / CONFIG
    if not config_file.is_file():
        raise DiarizationError(f"{config_file} is missing: WORKER_DIARIZATION_PIPELINE names a folder with one")
    config = yaml.safe_load(config_file.read_text(encoding="utf-8"))
    params = config["pipeline"].setdefault("params", {})
    if _major() == 3:
        params.pop("plda", None)  # a part that only version 4 has
    for field in MODEL_FIELDS:
        if isinstance(value := params.get(field), str):
            params[field] = _link(_file_of(folder, value), place / field) or value
    staged = place / CONFIG
    staged.write_text(yaml.safe_dump(config), encoding="utf-8")
    return staged


def _file_of(folder: Path, value: str) -> Path | None:
    """The file or folder that a config means; None for the name of a model on huggingface.co."""
    path = folder / value.removeprefix("$model/")
    if path.exists():
        return path
    if value.startswith("$model/") or value.count("/") != 1 or value.endswith((".ckpt", ".bin", ".pt", ".onnx")):
        raise DiarizationError(f"{path} is missing, which {folder / CONFIG} names; copy it there")
    return None


def _link(target: Path | None, link: Path) -> str | None:
    if target is None:
        return None
    link = link.with_suffix(target.suffix) if target.is_file() else link
    link.symlink_to(target.absolute())
    return str(link)


def _why(source: Path | str, error: Exception) -> str:
    if isinstance(source, str) and ("NoneType" in str(error) or "gated" in str(error).lower()):
        return _not_ours(source)
    reason = " ".join(str(error).split())[:LONGEST_REASON]
    kind = type(error).__name__
    if isinstance(error, ImportError) and "pyannote" in reason:
        return f"pyannote.audio cannot be imported ({kind}: {reason}); install the pinned set again"
    return f"pyannote.audio {_version()} cannot load {source} ({kind}: {reason})"


def _not_ours(name: str) -> str:
    return (
        f"{name} could not be fetched: accept the conditions of it and of the models that it uses on huggingface.co "
        "with the account of HF_TOKEN, and see that this machine reaches huggingface.co"
    )


def _version() -> str:
    try:
        return version("pyannote.audio")
    except PackageNotFoundError:
        return "missing"


def _major() -> int:
    first = _version().partition(".")[0]
    return int(first) if first.isdecimal() else 0


def diarization_device(settings: EngineSettings, *, on_gpu: bool) -> str:
    """ "cuda:0" or "cpu". Raises DiarizationError for cuda in a child without a GPU."""
    if settings.diarization_device == "cuda" and not on_gpu:
        raise DiarizationError("DIARIZATION_DEVICE=cuda, but this worker has no GPU; set it to auto or cpu")
    return "cuda:0" if on_gpu and settings.diarization_device != "cpu" else "cpu"


def batch_sizes(device: str, cores: int) -> tuple[int, int]:
    """(segmentation, embedding): chunks of 10 s at a time. A GPU wants many. On a CPU each core has a few, but one in
    the network of an embedding, which fills the caches already (bench/diarization.py)."""
    return (64, 32) if device.startswith("cuda") else (4 * cores, cores)
