"""A Whisper model by name: the operator's own checkpoint, the cache, or a download. Runs in the child.

Every checkpoint is hashed when it is loaded: the transcript names the very weights that it came from. An official one
is checked against the hash in its address, so that half a download is never loaded.
"""

import fcntl
import hashlib
import os
import pickle
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import whisper

from btworker.errors import BtworkerError, ErrorCode
from btworker.messages import EngineSettings

BLOCK_BYTES = 2**20
NETWORK_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model, on its device."""

    name: str
    sha256: str
    network: Any
    """whisper.model.Whisper"""
    device: torch.device

    @property
    def dtype(self) -> torch.dtype:
        """What it computes in: half precision on a GPU."""
        return torch.float16 if self.device.type == "cuda" else torch.float32


def load_model(name: str, settings: EngineSettings, device: torch.device) -> Model:
    """Load the model of this name. Raises BtworkerError MODEL_UNAVAILABLE with what to do."""
    models = dict(settings.models)
    if name not in models:
        raise _unavailable(
            f"this worker does not serve a model named {name!r}; it serves {', '.join(models) or 'none'}"
        )
    own = models[name]
    path = own if own is not None else _official(name, settings)
    if not path.is_file():
        raise _unavailable(f"the checkpoint of model {name!r} ({path.name}) is missing; see WORKER_MODELS")
    sha256 = file_sha256(path)
    network = _read_checkpoint(name, path, device)
    heads = _alignment_heads(sha256)
    if heads is not None:
        network.set_alignment_heads(heads)
    return Model(name, sha256, network.eval(), device)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _read_checkpoint(name: str, path: Path, device: torch.device) -> Any:
    try:
        # weights_only, which whisper's own load_model does not ask for: a pickle may run any code
        checkpoint = torch.load(path, map_location=device, weights_only=True)
        network = whisper.model.Whisper(whisper.model.ModelDimensions(**checkpoint["dims"]))
        network.load_state_dict(checkpoint["model_state_dict"])
        return network.to(device)
    except (pickle.UnpicklingError, KeyError, TypeError, EOFError, ValueError, AttributeError) as error:
        raise _unavailable(f"{path.name} is no Whisper checkpoint, so model {name!r} cannot be loaded") from error
    except RuntimeError as error:
        if "CUDA" in str(error) or isinstance(error, torch.cuda.OutOfMemoryError):
            raise
        raise _unavailable(f"the checkpoint of model {name!r} does not fit its own dimensions or is damaged") from error


def _official(name: str, settings: EngineSettings) -> Path:
    """The cached file of an official model; downloaded first where it is missing or broken."""
    address: str | None = whisper._MODELS.get(name)  # noqa: SLF001 - whisper has no public table of its addresses
    if address is None:
        release = whisper.__version__
        raise _unavailable(f"openai-whisper {release} does not know a model named {name!r}; newer releases may")
    path = settings.model_cache / address.rsplit("/", 1)[-1]
    wanted = address.split("/")[-2]
    if path.is_file() and file_sha256(path) == wanted:
        return path
    if settings.offline:
        raise _unavailable(
            f"model {name!r} is not in the cache ({path.name}) and WORKER_OFFLINE forbids to download it; "
            "put the file there, or serve it with WORKER_MODELS=name=/path"
        )
    _download(name, address, path, wanted=wanted)
    return path


def _download(name: str, address: str, path: Path, *, wanted: str) -> None:
    """Fetch a checkpoint. Children that want the same one wait for the first of them."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path.with_suffix(".lock")):
            if path.is_file() and file_sha256(path) == wanted:
                return
            _fetch(address, path, wanted=wanted)
    except (OSError, ValueError) as error:
        raise _unavailable(
            f"model {name!r} is not in the cache and could not be downloaded ({_reason(error)}); "
            "let the worker reach the network, or put the file into the cache"
        ) from error


def _fetch(address: str, path: Path, *, wanted: str) -> None:
    digest = hashlib.sha256()
    part = path.with_suffix(".part")
    with ExitStack() as on_failure:
        on_failure.callback(part.unlink, missing_ok=True)
        with part.open("wb") as file, urllib.request.urlopen(address, timeout=NETWORK_TIMEOUT_S) as source:  # noqa: S310
            while block := source.read(BLOCK_BYTES):
                digest.update(block)
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        if digest.hexdigest() != wanted:
            raise ValueError("what came is not the model: its SHA-256 differs")
        part.replace(path)
        on_failure.pop_all()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _alignment_heads(sha256: str) -> bytes | None:
    """Which heads follow the sound, for an official checkpoint under any name; None keeps whisper's default."""
    known: dict[str, bytes] = whisper._ALIGNMENT_HEADS  # noqa: SLF001 - known to whisper by name only
    addresses = whisper._MODELS.items()  # noqa: SLF001
    return next((known[name] for name, address in addresses if sha256 in address and name in known), None)


def _reason(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return str(reason)[:200]


def _unavailable(message: str) -> BtworkerError:
    return BtworkerError(ErrorCode.MODEL_UNAVAILABLE, message)
