"""Which checkpoint stands behind each model's name, and whether it is here. Looks at files, loads none."""

from dataclasses import dataclass
from pathlib import Path

from btworker.checkpoints import HubModel, NotWhisperError, Official, forbids_commerce, look_into, official
from btworker.cli.wording import megabytes, printable
from btworker.config import Settings


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One model that jobs may ask for."""

    name: str
    path: Path
    """A file, or a folder as Hugging Face and CTranslate2 write it."""
    size_bytes: int | None
    """None where it is not there."""
    own: bool
    """The operator's own checkpoint: never downloaded."""
    official: Official | None
    """Where it comes from, and its hash; None for one's own, and for a name that whisper does not know."""
    hub: HubModel | None = None
    """The repository that it is fetched from."""


def model_files(settings: Settings) -> list[ModelFile]:
    """Every allowed model with its file."""
    hub = dict(settings.hub_models)
    return [
        hub_file(settings, name, hub[name]) if name in hub else _look(settings, name, path)
        for name, path in settings.model_paths.items()
    ]


def hub_file(settings: Settings, name: str, model: HubModel) -> ModelFile:
    """A model of Hugging Face's."""
    folder = model.folder(settings.model_cache)
    return ModelFile(name, folder, _size_bytes(folder), own=False, official=None, hub=model)


def describe(model: ModelFile, *, offline: bool) -> str:
    """Where the model is, in a few words."""
    if model.size_bytes == 0:
        return f"holds no Whisper that can be read (`btworker models verify {model.name}` says why): {model.path}"
    if model.size_bytes is not None:
        licence = forbids_commerce(model.path)
        note = f" (no commercial use: {printable(licence)})" if licence else ""
        return f"{megabytes(model.size_bytes):>7}  {model.path}{note}"
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
    return ModelFile(name, file, _size_bytes(file), own=path is not None, official=source)


def _size_bytes(path: Path) -> int | None:
    """Of a file, or of a folder's files that count; 0 for a folder without a model."""
    if not path.exists():
        return None
    try:
        return path.stat().st_size if path.is_file() else look_into(path).size_bytes
    except (NotWhisperError, OSError):
        return 0
