"""A folder with a checkpoint as Hugging Face or CTranslate2 write it: which files count, and whether it is a Whisper.
No torch; nothing but names and JSON is looked at. The engine reads the numbers (engine/asr/formats/).
"""

import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from btworker.checkpoints.hashing import Progress, file_sha256

LARGEST_JSON_BYTES = 64 << 20
"""Of a JSON file: a tokenizer has 4 MB, and what is far larger is none."""
SETTINGS_FILES = (
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "added_tokens.json",
    "vocabulary.json",
    "vocabulary.txt",
)
"""Files beside the weights that are read where they are there."""
CARD = "README.md"
"""The model card: its first lines name the licence."""
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "model.bin",
)
"""Files that weights are in, and indexes that list such files: the first that is there counts, as in transformers."""
SHARD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,120}\.(safetensors|bin)")
LICENCE = re.compile(r"^license(_name)?:\s*[\"']?([^\"'\n]{1,80})", re.MULTILINE)
NO_COMMERCE = re.compile(r"(^|[^a-z])nc([^a-z]|$)|non-?commercial|research", re.IGNORECASE)


class NotWhisperError(Exception):
    """The folder has no checkpoint of a Whisper that can be read: what it is, to stand after its name."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A checkpoint's files."""

    path: Path
    weights: tuple[str, ...]
    """Names of the files with numbers: one, or the shards."""
    index: str = ""
    """Name of the file that lists the shards; empty where there is none."""

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that what comes out may depend on."""
        names = (*SETTINGS_FILES, *filter(None, (self.index,)), *self.weights)
        return tuple(self.path / name for name in names if (self.path / name).is_file())

    @property
    def size_bytes(self) -> int:
        """Of all these files."""
        return sum(path.stat().st_size for path in self.files)


def look_into(path: Path) -> ModelFolder:
    """Find the checkpoint in a folder. Raises NotWhisperError, OSError."""
    names = [entry.name for entry in path.iterdir()]
    weights, index = weights_among(names)
    if index:
        weights = shards_of(read_json(path / index))
    missing = [name for name in weights if name not in names]
    if missing:
        raise NotWhisperError(f"lacks {missing[0]}, which its index names")
    check_config(read_json(path / "config.json"), is_ctranslate2=weights == ("model.bin",))
    return ModelFolder(path, weights, index)


def weights_among(names: Collection[str]) -> tuple[tuple[str, ...], str]:
    """Find the files of weights among a folder's names, or else the index that lists them: (weights, index)."""
    found = next((name for name in WEIGHTS if name in names), "")
    if not found:
        raise NotWhisperError(_other_form(names))
    return ((), found) if found.endswith(".json") else ((found,), "")


def _other_form(names: Collection[str]) -> str:
    """Tell what stands there in place of weights that can be read."""
    endings = {name.rsplit(".", 1)[-1] for name in names}
    if "adapter_config.json" in names:
        return "has an adapter (LoRA) and no model: merge it into the model that it was trained on, and save that"
    if "gguf" in endings or any(name.startswith("ggml-") for name in names):
        return "has files of whisper.cpp (GGML), which are not read: take the checkpoint that they were made of"
    if endings & {"h5", "msgpack", "onnx", "tflite", "nemo"}:
        return "has weights for another framework alone: save it as safetensors"
    return "has no weights: model.safetensors, pytorch_model.bin or CTranslate2's model.bin"


def shards_of(index: Mapping[str, Any]) -> tuple[str, ...]:
    """List the files that an index names. Raises NotWhisperError where they are no plain names."""
    places = index.get("weight_map")
    names = sorted(set(map(str, places.values()))) if isinstance(places, dict) else []
    if not names or not all(SHARD.fullmatch(name) for name in names):
        raise NotWhisperError("has an index that names no files of weights")
    return tuple(names)


def check_config(config: Mapping[str, Any], *, is_ctranslate2: bool) -> None:
    """Raises NotWhisperError where config.json is another model's, or one's whose numbers are no floats."""
    kind = config.get("model_type")
    if is_ctranslate2 and not kind:
        return  # its config names no kind, the weights do
    if kind != "whisper":
        what = f"is a model of the kind {str(kind)[:40]!r}" if kind else "has no config.json of a Whisper"
        raise NotWhisperError(f"{what}, and this worker transcribes with Whisper alone")
    if config.get("quantization_config"):
        raise NotWhisperError("has quantised weights, which are not read: take it in half or single precision")


def read_json(path: Path) -> dict[str, Any]:
    """Read an object; empty where there is no such file. Raises NotWhisperError where it is something else."""
    try:
        if path.stat().st_size > LARGEST_JSON_BYTES:
            raise NotWhisperError(f"has a {path.name} of more than {LARGEST_JSON_BYTES >> 20} MB")
        raw = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise NotWhisperError(f"has a {path.name} that is no JSON") from error
    if not isinstance(raw, dict):
        raise NotWhisperError(f"has a {path.name} that is no JSON object")
    return raw


def file_hashes(folder: ModelFolder, progress: Progress = lambda _done, _total: None) -> dict[str, str]:
    """Hash all files that count: name -> SHA-256 in hex."""
    done, total, hashes = 0, folder.size_bytes, {}
    for path in sorted(folder.files):
        before = done

        def count(so_far: int, _size: int | None, before: int = before) -> None:
            progress(before + so_far, total)

        hashes[path.name] = file_sha256(path, count)
        done += path.stat().st_size
    return hashes


def sha256_of_all(hashes: Mapping[str, str]) -> str:
    """Make one hash of those of all files, in hex."""
    lines = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(hashes.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def forbids_commerce(folder: Path) -> str:
    """Name the licence of the model card where it forbids commercial use; empty where none is known to."""
    return next((name for name in _licences(folder / CARD) if NO_COMMERCE.search(name)), "")


def _licences(card: Path) -> Iterator[str]:
    """Find `license` and `license_name` in the card's first lines, which are YAML between two lines of ---."""
    try:
        with card.open(encoding="utf-8", errors="replace") as file:
            beginning = file.read(1 << 16)
    except OSError:
        return
    if beginning.startswith("---\n"):
        for found in LICENCE.finditer(beginning.split("\n---", 1)[0]):
            yield "".join(c for c in found[2].strip() if c.isprintable())
