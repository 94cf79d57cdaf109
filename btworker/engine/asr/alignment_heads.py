"""Which attention heads of the decoder follow the sound: word times come from them. Runs in the child.

OpenAI chose them for each of its models, and its code knows them by the model's name. A checkpoint that was converted,
fine-tuned or renamed has its heads all the same: they are looked for in the operator's setting, the checkpoint, a JSON
file beside it, and by comparing its weights with the official ones. Where nothing is found, all heads of the decoder's
upper half are used, as in openai-whisper; docs/quality.md compares the times.
"""

import base64
import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
import whisper
from torch import Tensor
from whisper.model import ModelDimensions

from btworker.checkpoints import official
from btworker.engine.asr.checkpoint_file import CheckpointError, read_checkpoint
from btworker.engine.asr.formats.checkpoint import Checkpoint

Pairs = tuple[tuple[int, int], ...]
"""(layer, head) of each."""
SIGNATURE_VALUES = 256
"""Weights that stand for a model: enough that those of unrelated models have a cosine of 0.06."""
STRIDE = 104_729
"""From one of them to the next in a matrix: a prime, so that they come from all rows and columns."""
NEAR = 0.9
"""Least cosine of two signatures of one model. Half precision and eight bits keep 0.999, and fine-tuning moves weights
by a few percent; models that were trained apart have nothing in common."""
LARGEST_JSON_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class AlignmentHeads:
    """Heads, and where they are known from."""

    source: str
    """"setting", "checkpoint", "hash", "file", "weights", or "all": nothing is known."""
    pairs: Pairs
    model: str = ""
    """The official model whose heads these are, where they were taken from one."""

    def to_dict(self) -> dict[str, str]:
        """Make a shape for logs and provenance."""
        return {"source": self.source, **({"model": self.model} if self.model else {})}


class HeadsError(ValueError):
    """The operator's setting does not fit the model: a phrase."""


def find_heads(
    checkpoint: Checkpoint, path: Path, dims: ModelDimensions, *, sha256: str, setting: str, model_cache: Path
) -> AlignmentHeads:
    """Find the heads of the checkpoint in `path`. `setting` is the operator's, or empty. Raises HeadsError."""
    if setting:
        return _of_setting(setting, dims)
    own = _fitting(checkpoint.alignment_heads, dims)
    if own:
        return AlignmentHeads("checkpoint", own)
    for name in _official_names(dims):
        if sha256 == _sha256_of(name):
            return AlignmentHeads("hash", official_heads(name, dims), name)
    beside = _beside(path, dims)
    if beside:
        return AlignmentHeads("file", beside)
    return _by_weights(checkpoint.state, dims, model_cache) or _default(dims)


def official_heads(name: str, dims: ModelDimensions) -> Pairs:
    """Look up the heads of an official model; none where openai-whisper knows no such model of this shape."""
    packed: bytes | None = whisper._ALIGNMENT_HEADS.get(name)  # noqa: SLF001 - known to whisper by name only
    flags = gzip.decompress(base64.b85decode(packed)) if packed else b""
    if len(flags) != dims.n_text_layer * dims.n_text_head:
        return ()
    return tuple(divmod(place, dims.n_text_head) for place, flag in enumerate(flags) if flag)


def signature(state: Mapping[str, Tensor], layers: int) -> Tensor:
    """Collect weights that stand for a model: some of the queries and keys of the decoder's attention to the sound, in
    its first two layers and its last two; float32."""
    some = sorted({*range(layers)[:2], *range(layers)[-2:]})
    names = [f"decoder.blocks.{layer}.cross_attn.{part}.weight" for layer in some for part in ("query", "key")]
    places = torch.arange(SIGNATURE_VALUES // len(names)) * STRIDE
    return torch.cat([state[name].flatten()[places % state[name].numel()].float() for name in names])


def _of_setting(setting: str, dims: ModelDimensions) -> AlignmentHeads:
    """Read an official model's name, or pairs as "layer:head layer:head"."""
    known = official_heads(setting, dims)
    if known:
        return AlignmentHeads("setting", known, setting)
    if ":" not in setting:
        raise HeadsError(f"{setting} is no official model of its shape")
    pairs = _fitting([[int(part) for part in pair.split(":")] for pair in setting.split()], dims)
    if pairs is None:
        raise HeadsError(f"it has {dims.n_text_layer} layers of {dims.n_text_head} heads, counted from 0")
    return AlignmentHeads("setting", pairs)


def _default(dims: ModelDimensions) -> AlignmentHeads:
    layers, heads = range(dims.n_text_layer // 2, dims.n_text_layer), range(dims.n_text_head)
    return AlignmentHeads("all", tuple((layer, head) for layer in layers for head in heads))


def _fitting(raw: object, dims: ModelDimensions) -> Pairs | None:
    """Read a matrix of flags, which openai-whisper keeps, or pairs, which the others do; None where it is neither, or
    these are no heads of such a model."""
    if isinstance(raw, Tensor):
        fits = tuple(raw.shape) == (dims.n_text_layer, dims.n_text_head)
        raw = raw.nonzero().tolist() if fits else None
    if not isinstance(raw, list | tuple) or not raw:
        return None
    pairs = tuple(tuple(pair) if isinstance(pair, list | tuple) else () for pair in raw)
    return pairs if all(_is_head(pair, dims) for pair in pairs) else None


def _is_head(pair: tuple[Any, ...], dims: ModelDimensions) -> bool:
    """Tell whether (layer, head) is one of the model's."""
    sizes = (dims.n_text_layer, dims.n_text_head)
    return len(pair) == len(sizes) and all(
        type(number) is int and 0 <= number < size for number, size in zip(pair, sizes, strict=True)
    )


def _beside(path: Path, dims: ModelDimensions) -> Pairs | None:
    """Read a JSON file of the folder, or one beside the checkpoint: one of its name, or the model's configuration as
    Hugging Face and CTranslate2 write it, where no other checkpoint lies there."""
    configurations = ["generation_config.json", "config.json"]
    if path.is_dir():
        places = [path / name for name in configurations]
    else:
        alone = len(list(path.parent.glob(f"*{path.suffix}"))) == 1
        places = [path.parent / name for name in (f"{path.stem}.json", *(configurations if alone else ()))]
    return next(filter(None, (_fitting(_field(place), dims) for place in places)), None)


def _field(path: Path) -> object:
    try:
        if path.stat().st_size > LARGEST_JSON_BYTES:
            return None
        raw = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return raw.get("alignment_heads") if isinstance(raw, dict) else None


def _official_names(dims: ModelDimensions) -> Iterator[str]:
    return (name for name in whisper._ALIGNMENT_HEADS if official_heads(name, dims))  # noqa: SLF001 - as above


def _sha256_of(name: str) -> str:
    known = official(name)
    return known.sha256 if known else ""


def _by_weights(state: Mapping[str, Tensor], dims: ModelDimensions, model_cache: Path) -> AlignmentHeads | None:
    """Take the heads of the official model whose weights are nearest, where they are near."""
    mine = signature(state, dims.n_text_layer)
    near = {name: _cosine(mine, other) for name, other in _signatures(dims, model_cache)}
    best = max(near, key=lambda name: near[name], default="")
    return AlignmentHeads("weights", official_heads(best, dims), best) if best and near[best] >= NEAR else None


def _signatures(dims: ModelDimensions, model_cache: Path) -> Iterator[tuple[str, Tensor]]:
    """Collect signatures of official models of this shape: those that come along, and those of files in the cache."""
    for name in _official_names(dims):
        if name in known_signatures():
            yield name, known_signatures()[name]
        else:
            known = official(name)
            found = _signature_of_file(model_cache / known.filename, dims) if known else None
            if found is not None:
                yield name, found


@cache
def known_signatures() -> dict[str, Tensor]:
    """Load signatures by official name; tools/head_signatures.py made the file."""
    raw = json.loads((files(__package__) / "head_signatures.json").read_text("utf-8"))
    return {
        name: torch.frombuffer(bytearray(base64.b85decode(packed)), dtype=torch.float16).float()
        for name, packed in raw.items()
    }


def _signature_of_file(path: Path, dims: ModelDimensions) -> Tensor | None:
    """Read the signature of a checkpoint; None where there is none."""
    try:
        return signature(read_checkpoint(path)["model_state_dict"], dims.n_text_layer)
    except (OSError, CheckpointError, RuntimeError, KeyError, TypeError, AttributeError, ValueError):
        return None


def _cosine(one: Tensor, other: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(one, other, dim=0)) if len(one) == len(other) else 0.0
