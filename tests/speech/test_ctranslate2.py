"""The reader of CTranslate2's model.bin: it takes numbers from a stranger's file, and refuses what does not fit."""

import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from btworker.engine.asr.checkpoint_file import CheckpointError
from btworker.engine.asr.formats.ctranslate2 import read_ctranslate2
from tests.speech.checkpoint_forms import SHAPES, ctranslate2_names, model_bin, weights

pytestmark = pytest.mark.speech
BASE = SHAPES["base"]
ALIAS = {"decoder/projection/weight": "decoder/embeddings/weight"}


@pytest.fixture(scope="module")
def variables() -> dict[str, Tensor]:
    """Of a very small Whisper."""
    return ctranslate2_names(weights(BASE), BASE.dims)


def read(path: Path, data: bytes) -> dict[str, Tensor]:
    path.write_bytes(data)
    dims, state = read_ctranslate2(path)
    assert dims == BASE.dims
    return state


def test_a_model_gives_the_weights_back(variables: dict[str, Tensor], tmp_path: Path) -> None:
    """All of them, in half precision; an alias is another name."""
    state = read(tmp_path / "model.bin", model_bin(variables, ALIAS, dtype=torch.float16))
    assert state.keys() == weights(BASE).keys()
    for name, value in weights(BASE).items():
        assert torch.equal(state[name], value.half()), name


@pytest.mark.parametrize("cut", [3, 30, 5_000, -1])
def test_a_file_that_is_not_whole_is_refused(cut: int, variables: dict[str, Tensor], tmp_path: Path) -> None:
    """With a sentence, wherever it ends."""
    with pytest.raises(CheckpointError, match="it ends at byte"):
        read(tmp_path / "model.bin", model_bin(variables)[:cut])


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda data: struct.pack("<I", 5) + data[4:], "format 5"),
        (lambda data: data.replace(b"WhisperSpec", b"AnotherSpec"), "AnotherSpec"),
        (lambda data: data + b"more", "4 bytes follow"),
        (lambda data: data.replace(struct.pack("<BI", 2, 2), struct.pack("<BI", 9, 2), 1), "type 9"),
        (lambda data: data.replace(struct.pack("<BI", 2, 2), struct.pack("<BI", 2, 2**31), 1), "2147483648 bytes"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    made: Callable[[bytes], bytes], why: str, variables: dict[str, Tensor], tmp_path: Path
) -> None:
    """Another format, a type or a size that cannot be."""
    with pytest.raises(CheckpointError, match=why):
        read(tmp_path / "model.bin", made(model_bin(variables)))


@pytest.mark.parametrize("name", ["decoder/layer_norm/gamma", "encoder/num_heads"])
def test_a_missing_variable_is_named(name: str, variables: dict[str, Tensor], tmp_path: Path) -> None:
    """In place of a KeyError from the middle."""
    others = {other: value for other, value in variables.items() if other != name}
    with pytest.raises(CheckpointError, match=rf"{name}|heads its encoder"):
        read(tmp_path / "model.bin", model_bin(others))
