"""A checkpoint from a file or a folder, whatever its form. Numbers are mapped; nothing is run."""

import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from whisper.model import ModelDimensions

from btworker.checkpoints.folder import NotWhisperError, check_config, look_into, read_json
from btworker.engine.asr.checkpoint_file import CheckpointError, read_checkpoint
from btworker.engine.asr.formats.checkpoint import WINDOW_POSITIONS, WORDS, Checkpoint, suited
from btworker.engine.asr.formats.ctranslate2 import SPEC, read_ctranslate2
from btworker.engine.asr.formats.hugging_face import check_spectrogram, dimensions, openai_names
from btworker.engine.asr.formats.safetensors import read_safetensors
from btworker.engine.asr.formats.tokens import tokens_of_folder, tokens_of_openai

OTHERS = {
    b"lmgg": "is a file of whisper.cpp (GGML), which is not read: take the checkpoint that it was made of",
    b"GGUF": "is a GGUF file, which is not read: take the checkpoint that it was made of",
    b"version https://git-lfs": "is a pointer of Git LFS and not the file itself: `git lfs pull` fetches it",
    b"\x89HDF": "is a file of TensorFlow, which is not read: save the model as safetensors",
}
"""How files begin that are something else -> the sentence about them."""
BEGINNING_BYTES = 64


def read_any(path: Path) -> Checkpoint:
    """Read a file or a folder. Raises CheckpointError: a phrase, to stand after its name; OSError."""
    try:
        return _read_folder(path) if path.is_dir() else _read_file(path)
    except NotWhisperError as error:
        raise CheckpointError(str(error)) from error


def _read_folder(path: Path) -> Checkpoint:
    folder = look_into(path)
    state: dict[str, Tensor] = {}
    for name in folder.weights:
        read = _reader_of(path / name)
        if read is read_ctranslate2:
            return _of_ctranslate2(path / name)
        part = read(path / name)
        if not isinstance(part, Mapping) or "model_state_dict" in part:
            raise CheckpointError(f"has a {name} that is no state of a model")
        state |= part
    return _of_hugging_face(path, state)


def _read_file(path: Path) -> Checkpoint:
    read = _reader_of(path)
    if read is read_ctranslate2:
        return _of_ctranslate2(path)
    raw = read(path)
    if isinstance(raw, Mapping) and "model_state_dict" in raw:
        return _of_openai(raw)
    config = read_json(path.parent / "config.json")
    if read is read_checkpoint and not config:
        raise CheckpointError("is no Whisper checkpoint")
    check_config(config, is_ctranslate2=False)
    return _of_hugging_face(path.parent, raw)


def _reader_of(path: Path) -> Callable[[Path], Any]:
    """Find out a file's form by how it begins."""
    with open(path, "rb") as file:
        beginning = file.read(BEGINNING_BYTES)
    for start, what in OTHERS.items():
        if beginning.startswith(start):
            raise CheckpointError(what)
    length = len(SPEC) + 1
    if beginning[6:].startswith(SPEC.encode()) and beginning[4:6] == struct.pack("<H", length):
        return read_ctranslate2
    if path.name == "model.bin" and not beginning.startswith(b"PK"):
        return read_ctranslate2  # of another spec or version, which its reader reports
    return read_safetensors if path.suffix == ".safetensors" else read_checkpoint


def _of_openai(raw: Mapping[str, Any]) -> Checkpoint:
    dims = ModelDimensions(**raw["dims"])
    state = raw["model_state_dict"]
    heads = raw.get("alignment_heads")
    heads = state.get("alignment_heads") if heads is None else heads
    return Checkpoint(dims, state, tokens_of_openai(dims.n_vocab), heads)


def _of_hugging_face(folder: Path, state: Mapping[str, Tensor]) -> Checkpoint:
    dims = dimensions(read_json(folder / "config.json"))
    _check_window(dims)
    check_spectrogram(folder, dims.n_mels)
    return _suited(folder, dims, openai_names(state))


def _of_ctranslate2(path: Path) -> Checkpoint:
    dims, state = read_ctranslate2(path)
    _check_window(dims)
    check_spectrogram(path.parent, dims.n_mels)
    return _suited(path.parent, dims, state)


def _suited(folder: Path, dims: ModelDimensions, state: dict[str, Tensor]) -> Checkpoint:
    if WORDS not in state:
        raise CheckpointError("has no embedding of tokens among its weights")
    return suited(dims, state, tokens_of_folder(folder, len(state[WORDS])))


def _check_window(dims: ModelDimensions) -> None:
    if dims.n_audio_ctx != WINDOW_POSITIONS:
        seconds = dims.n_audio_ctx / WINDOW_POSITIONS * 30
        raise CheckpointError(f"has windows of {seconds:.0f} s, and those here are of 30 s, as Whisper's are")
