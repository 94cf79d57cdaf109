"""openai-whisper's official checkpoints: where they are, their hashes, and their way into the cache. No torch.

The table is read from the source of the installed openai-whisper, since importing that would import torch: the command
line (`btworker models fetch`) and the engine's child (engine/asr/weights.py) share it.
"""

import ast
import re
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from btworker.checkpoints.download import Wanted, download
from btworker.checkpoints.hashing import Progress, file_sha256

MEGABYTES = {"tiny": 72, "base": 139, "small": 461, "medium": 1457, "large": 2944, "turbo": 1543}
"""Sizes of OpenAI's checkpoints: two bytes for each weight."""

_ELSEWHERE = re.compile(r"((openai/)?|((Systran|guillaumekln)/)?faster-)whisper-(?P<name>.+)")


@dataclass(frozen=True, slots=True)
class Official:
    """One checkpoint that OpenAI published. Its address holds its hash."""

    name: str
    address: str

    @property
    def filename(self) -> str:
        """Its name in the cache; `large` is the file large-v3.pt."""
        return self.address.rsplit("/", 1)[-1]

    @property
    def size_bytes(self) -> int | None:
        """What a download will bring, to the megabyte; None where it is not known."""
        kind = "turbo" if "turbo" in self.filename else re.split(r"[-.]", self.filename)[0]
        return MEGABYTES[kind] * 2**20 if kind in MEGABYTES else None

    @property
    def languages(self) -> int:
        """How many languages it knows, counted in whisper's own order; 1 is English alone."""
        if self.name.endswith(".en"):
            return 1
        return 100 if self.filename.startswith("large-v3") else 99

    @property
    def sha256(self) -> str:
        """The hash of the whole file, in hex."""
        return self.address.split("/")[-2]


def official(name: str) -> Official | None:
    """The checkpoint with this name in the installed openai-whisper; None where it knows none."""
    address = _table().get(name)
    return None if address is None else Official(name, address)


def official_names() -> tuple[str, ...]:
    """Every name that the installed openai-whisper knows, the aliases included; none where it is not installed."""
    return tuple(_table())


def official_name(called: str) -> str | None:
    """The name of the checkpoint that others call whisper-large-v3-turbo (Groq), openai/whisper-small (the hub) or
    Systran/faster-whisper-small: the same weights. None for every other name, as those of fine-tunes."""
    found = _ELSEWHERE.fullmatch(called)
    return None if found is None else found["name"]


@cache
def _table() -> dict[str, str]:
    """Name -> address; empty where openai-whisper is not installed."""
    try:
        source = Path(str(distribution("openai-whisper").locate_file("whisper/__init__.py"))).read_text("utf-8")
    except (PackageNotFoundError, OSError):
        return {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "_MODELS" for t in node.targets):
            return dict(ast.literal_eval(node.value))
    return {}


def fetch(wanted: Official, folder: Path, progress: Progress = lambda _done, _total: None) -> Path:
    """Download a checkpoint unless it is there, whole; goes on where an earlier download ended. Raises FetchError."""
    file = Wanted(wanted.address, lambda path: file_sha256(path) == wanted.sha256)
    return download(file, folder / wanted.filename, progress)
