"""The file of a Whisper checkpoint, as torch.save writes it, read by a reader that runs nothing of it.

torch.load takes a TorchScript archive for a checkpoint, and runs it, also where it is asked for weights only
(CVE-2025-32434, torch below 2.6). Here a pickle can make dictionaries, lists, texts, numbers and tensors, and nothing
else. The tensors are mapped from the file: their bytes are read when they are copied to where the model computes.
"""

import mmap
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

DTYPES = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "ShortStorage": torch.int16,
}
LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Of a zip's entry: signature, length of its name, length of its extra field."""


class CheckpointError(ValueError):
    """The file is no checkpoint, or holds more than one: what is wrong, to stand after the file's name."""


def read_checkpoint(path: Path) -> Any:
    """Read what was saved, mostly {"dims": {…}, "model_state_dict": {name: tensor}}. Raises CheckpointError, OSError.

    The file stays mapped for as long as one of the tensors lives; they must be copied before it changes.
    """
    with open(path, "rb") as file, _archive(file) as archive:
        pickled = _pickle_of(archive)
        storages = _Storages(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY), archive, pickled.split("/")[0])
        with archive.open(pickled) as stream:
            try:
                return _Unpickler(stream, storages).load()
            except CheckpointError:
                raise
            except (pickle.UnpicklingError, EOFError, TypeError, ValueError, LookupError, AttributeError) as error:
                raise CheckpointError("is no checkpoint of weights, or is damaged") from error


@contextmanager
def _archive(file: BinaryIO) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except zipfile.BadZipFile as error:
        reason = "is no checkpoint as torch.save has written them since torch 1.6, or is cut off"
        raise CheckpointError(reason) from error


def _pickle_of(archive: zipfile.ZipFile) -> str:
    """Find the entry that says what is in the archive."""
    names = archive.namelist()
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        raise CheckpointError("is a TorchScript archive, which is a program; only weights are loaded")
    found = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(found) != 1:
        raise CheckpointError("is a zip archive, but no checkpoint of torch.save")
    return found[0]


@dataclass(frozen=True, slots=True)
class _Storage:
    """A row of numbers in the file, of one type."""

    numbers: Tensor


class _Storages:
    """The numbers of an archive, by key."""

    def __init__(self, mapped: mmap.mmap, archive: zipfile.ZipFile, root: str) -> None:
        self._mapped = mapped
        self._entries = {entry.filename: entry for entry in archive.infolist()}
        self._root = root
        self._known: dict[str, _Storage] = {}
        order = self._entries.get(f"{root}/byteorder")
        if order is not None and archive.read(order) != b"little":
            raise CheckpointError("was saved on a machine of another byte order")

    def of(self, key: str, dtype: torch.dtype) -> _Storage:
        """Map one of them. Raises CheckpointError where its bytes are not those that were saved."""
        if key not in self._known:
            entry = self._entries.get(f"{self._root}/data/{key}")
            if entry is None or entry.compress_type != zipfile.ZIP_STORED:
                raise CheckpointError("lacks a part of its weights")
            self._known[key] = _Storage(self._numbers(entry, dtype))
        return self._known[key]

    def _numbers(self, entry: zipfile.ZipInfo, dtype: torch.dtype) -> Tensor:
        begin = entry.header_offset + LOCAL_HEADER.size
        signature, name_length, extra_length = LOCAL_HEADER.unpack(self._mapped[entry.header_offset : begin])
        begin += name_length + extra_length
        with memoryview(self._mapped) as whole, whole[begin : begin + entry.file_size] as part:
            if signature != b"PK\x03\x04" or len(part) != entry.file_size or zlib.crc32(part) != entry.CRC:
                raise CheckpointError("is damaged: some of its weights are not those that were saved")
        count, rest = divmod(entry.file_size, dtype.itemsize)
        if rest:
            raise CheckpointError("is damaged: a row of numbers ends in the middle of one")
        return (
            torch.frombuffer(self._mapped, dtype=dtype, count=count, offset=begin)
            if count
            else torch.empty(0, dtype=dtype)
        )


class _Unpickler(pickle.Unpickler):
    """Knows a dictionary, a tensor and its storage; any other name is refused."""

    def __init__(self, stream: Any, storages: _Storages) -> None:
        super().__init__(stream)
        self._storages = storages

    def find_class(self, module: str, name: str, /) -> Any:
        """Give what a name in the pickle stands for."""
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if (module, name) in BUILDERS:
            return BUILDERS[module, name]
        raise CheckpointError("holds more than weights (a pickle can run any code): only weights are loaded")

    def persistent_load(self, pid: Any, /) -> _Storage:
        """Give one of the rows of numbers: ("storage", type, key, device, count)."""
        kind, dtype, key, _device, _count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise CheckpointError("is no checkpoint of weights")
        return self._storages.of(str(key), dtype)


def _tensor(storage: _Storage, offset: int, size: Sequence[int], stride: Sequence[int], *_others: object) -> Tensor:
    """Make a tensor as torch._utils._rebuild_tensor_v2 does, with bounds."""
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if offset < 0 or min((*size, *stride), default=0) < 0 or (0 not in size and last >= storage.numbers.numel()):
        raise CheckpointError("is damaged: a tensor is larger than its numbers")
    return storage.numbers.as_strided(tuple(size), tuple(stride), offset)


def _parameter(data: Tensor, *_others: object) -> Tensor:
    """Give the tensor of a parameter, where torch._utils._rebuild_parameter makes one."""
    return data


BUILDERS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
}
