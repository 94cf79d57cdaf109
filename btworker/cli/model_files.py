"""Which checkpoint stands behind each model's name, and whether it is here. Looks at files, loads none."""

from dataclasses import dataclass
from pathlib import Path

from btworker.checkpoints import Official, official
from btworker.cli.wording import megabytes
from btworker.config import Settings


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One model that jobs may ask for."""

    name: str
    path: Path
    size_bytes: int | None
    """None where the file is not there."""
    own: bool
    """The operator's own checkpoint: never downloaded."""
    official: Official | None
    """Where it comes from, and its hash; None for one's own, and for a name that whisper does not know."""


def model_files(settings: Settings) -> list[ModelFile]:
    """Every allowed model with its file."""
    return [_look(settings, name, path) for name, path in settings.model_paths.items()]


def describe(model: ModelFile, *, offline: bool) -> str:
    """Where the model is, in a few words."""
    if model.size_bytes is not None:
        return f"{megabytes(model.size_bytes):>7}  {model.path}"
    if model.own:
        return f"is missing: {model.path}"
    size_bytes = model.official.size_bytes if model.official else None
    size = f"{megabytes(size_bytes) if size_bytes else '':>7}"
    return f"{size}  " + (
        "is not in the cache, and WORKER_OFFLINE is set" if offline else "is downloaded when first used"
    )


def _look(settings: Settings, name: str, path: Path | None) -> ModelFile:
    source = None if path is not None else official(name)
    file = path or settings.model_cache / (f"{name}.pt" if source is None else source.filename)
    size_bytes = file.stat().st_size if file.is_file() else None
    return ModelFile(name, file, size_bytes, own=path is not None, official=source)
