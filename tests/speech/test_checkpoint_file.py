"""Checkpoints are read as torch.load reads them, and whatever is not weights is refused before any of it is run."""

import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from btworker.engine.asr.checkpoint_file import DTYPES, CheckpointError, read_checkpoint

pytestmark = pytest.mark.speech

DEMO = Path("btworker/demo/whisper-tiny-words.pt")


def assert_same(found: Any, wanted: Any) -> None:
    """Everything in it, types and strides included."""
    assert type(found) is type(wanted)
    if isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for name, value in wanted.items():
            assert_same(found[name], value)
    elif isinstance(wanted, torch.Tensor):
        assert (found.dtype, found.shape, found.stride()) == (wanted.dtype, wanted.shape, wanted.stride())
        assert torch.equal(found, wanted)
    else:
        assert found == wanted


def test_the_demo_model_reads_as_with_torch() -> None:
    """All its weights, in their order."""
    assert_same(read_checkpoint(DEMO), torch.load(DEMO, weights_only=True))


def test_tensors_of_every_kind_read_as_with_torch(tmp_path: Path) -> None:
    """Types, views, strides, shared storages, scalars, nothing at all, and parameters, which are plain tensors then."""
    base = torch.arange(24.0).reshape(4, 6)
    saved = OrderedDict(
        **{str(dtype): (torch.arange(6) % 2).to(dtype) for dtype in DTYPES.values()},
        transposed=base.T,
        part=base[1:, 2:4],
        again=base,
        scalar=torch.tensor(3.5),
        nothing=torch.empty(0, 3),
        a_text="text",
        numbers=[1, 2.5, None, True, (3, "4")],
    )
    torch.save({"dims": {"n_mels": 80}, "model_state_dict": saved}, tmp_path / "x.pt")
    assert_same(read_checkpoint(tmp_path / "x.pt"), torch.load(tmp_path / "x.pt", weights_only=True))
    torch.save({"weight": torch.nn.Parameter(base)}, tmp_path / "parameter.pt")
    assert torch.equal(read_checkpoint(tmp_path / "parameter.pt")["weight"], base)


def test_what_is_read_does_not_change_the_file(tmp_path: Path) -> None:
    """It is mapped, but for this process alone."""
    torch.save({"weight": torch.zeros(1000)}, tmp_path / "x.pt")
    before = (tmp_path / "x.pt").read_bytes()
    read_checkpoint(tmp_path / "x.pt")["weight"].fill_(1)
    assert (tmp_path / "x.pt").read_bytes() == before


class Program(torch.nn.Module):
    """What a TorchScript archive can be: it is run by who loads it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1


def script(path: Path) -> None:
    torch.jit.script(Program()).save(str(path))


def legacy(path: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, path, _use_new_zipfile_serialization=False)


def whole_module(path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), path)


def numpy_inside(path: Path) -> None:
    torch.save({"weight": np.zeros(3)}, path)


def other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<x/>")


def cut_off(path: Path) -> None:
    path.write_bytes(DEMO.read_bytes()[:-1000])


def one_bit(path: Path) -> None:
    data = bytearray(DEMO.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def rewritten(path: Path, change: Callable[[str, bytes], bytes | None], *, compression: int = 0) -> None:
    """A small checkpoint with other entries; None leaves one out."""
    torch.save({"weight": torch.arange(10.0)}, path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            if (other := change(name, data)) is not None:
                archive.writestr(name, other)


def weights_left_out(path: Path) -> None:
    rewritten(path, lambda name, data: None if "/data/" in name else data)


def weights_cut(path: Path) -> None:
    rewritten(path, lambda name, data: data[:-8] if "/data/" in name else data)


def weights_in_the_middle(path: Path) -> None:
    rewritten(path, lambda name, data: data[:-1] if "/data/" in name else data)


def other_byte_order(path: Path) -> None:
    rewritten(path, lambda name, data: b"big" if name.endswith("byteorder") else data)
    with zipfile.ZipFile(path, "a") as archive:
        root = archive.namelist()[0].split("/")[0]
        if f"{root}/byteorder" not in archive.namelist():  # torch 2.2 writes one, older ones did not
            archive.writestr(f"{root}/byteorder", b"big")


def compressed(path: Path) -> None:
    rewritten(path, lambda _name, data: data, compression=zipfile.ZIP_DEFLATED)


def pickle_cut(path: Path) -> None:
    rewritten(path, lambda name, data: data[:-3] if name.endswith("data.pkl") else data)


@pytest.mark.filterwarnings("ignore:.*jit.*:DeprecationWarning")
@pytest.mark.parametrize(
    ("make", "what"),
    [
        (script, "TorchScript archive, which is a program"),
        (legacy, "since torch 1.6"),
        (whole_module, "holds more than weights"),
        (numpy_inside, "holds more than weights"),
        (other_zip, "no checkpoint of torch.save"),
        (cut_off, "cut off"),
        (one_bit, "is damaged"),
        (weights_left_out, "lacks a part"),
        (weights_cut, "larger than its numbers"),
        (weights_in_the_middle, "is damaged"),
        (other_byte_order, "another byte order"),
        (compressed, "lacks a part"),
        (pickle_cut, "is damaged"),
    ],
)
def test_what_is_no_checkpoint_is_a_sentence(make: Callable[[Path], None], what: str, tmp_path: Path) -> None:
    """And never an error of another kind, a wrong weight, or a word of code that was run."""
    path = tmp_path / "x.pt"
    make(path)
    with pytest.raises(CheckpointError, match=what):
        read_checkpoint(path)


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
@pytest.mark.parametrize("size", [(2**40,), (-1,), (5, 3)])
def test_a_tensor_stays_within_its_numbers(size: tuple[int, ...], tmp_path: Path) -> None:
    """Whatever the pickle says of its shape: nothing outside is read."""

    class Liar:
        def __reduce__(self) -> tuple[Any, ...]:
            storage = torch.arange(10.0).storage()
            return torch._utils._rebuild_tensor_v2, (storage, 0, size, (1,) * len(size), False, OrderedDict())

    path = tmp_path / "x.pt"
    torch.save({"weight": Liar()}, path)
    if size == (5, 3):  # 7 numbers in strides of 1: they are there
        assert read_checkpoint(path)["weight"].shape == size
        return
    with pytest.raises(CheckpointError, match="larger than its numbers"):
        read_checkpoint(path)
