"""Settings -> a loaded pyannote pipeline, or one sentence that says what is missing and what to do."""

import tempfile
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import torch
import yaml
from pyannote.audio import Pipeline

from btworker.engine.diarization.source import (
    CONFIG,
    MODEL_FIELDS,
    DiarizationError,
    file_of,
    pyannote_major,
    pyannote_version,
    read_config,
    where_to_load_from,
)
from btworker.logs import get_logger
from btworker.specs import EngineSettings

log = get_logger()
LONGEST_REASON = 300
"""Characters of a library's own message in ours."""


def load_pipeline(settings: EngineSettings, device: torch.device) -> Pipeline:
    """Load the pipeline to its device. Raises DiarizationError."""
    source = where_to_load_from(settings)
    where = str(source) if isinstance(source, Path) else f"{source} (huggingface.co)"
    printed = StringIO()  # pyannote prints its advice, and standard output is our log
    try:
        with redirect_stdout(printed), warnings.catch_warnings():
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


def _from_hub(name: str, token: str | None) -> Pipeline | None:
    return Pipeline.from_pretrained(name, **({"use_auth_token": token} if pyannote_major() == 3 else {"token": token}))


def _from_folder(folder: Path) -> Pipeline | None:
    with tempfile.TemporaryDirectory(prefix="btworker-pipeline-") as place:
        return Pipeline.from_pretrained(_staged(folder, Path(place)))


def _staged(folder: Path, place: Path) -> Path:
    """Copy the folder's config to `place`, where its files are links with neutral names there.

    pyannote reads relative paths from the current folder, and guesses a model's kind from words in its path.
    """
    config = read_config(folder)
    params = config["pipeline"].setdefault("params", {})
    if pyannote_major() == 3:
        params.pop("plda", None)  # a part that only version 4 has
    for field in MODEL_FIELDS:
        if isinstance(value := params.get(field), str):
            params[field] = _link(file_of(folder, value), place / field) or value
    staged = place / CONFIG
    staged.write_text(yaml.safe_dump(config), encoding="utf-8")
    return staged


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
    return f"pyannote.audio {pyannote_version()} cannot load {source} ({kind}: {reason})"


def _not_ours(name: str) -> str:
    return (
        f"{name} could not be fetched: accept the conditions of it and of the models that it uses on huggingface.co "
        "with the account of HF_TOKEN, and see that this machine reaches huggingface.co"
    )
