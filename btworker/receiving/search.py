"""Where a delimiter is in a block, by the C library's memmem: three times as fast as mmap.find, which was a tenth of
what receiving costs, and without the interpreter's lock. Blocking; any thread."""

import ctypes
import mmap
from functools import cache
from typing import Any


def find(block: mmap.mmap, wanted: bytes, begin: int, end: int) -> int:
    """The place of the first `wanted` that lies whole between `begin` and `end`; -1 where there is none."""
    if begin >= end:
        return -1
    first = ctypes.addressof(ctypes.c_char.from_buffer(block))
    found = _memmem()(first + begin, end - begin, wanted, len(wanted))
    return -1 if found is None else int(found) - first


@cache
def _memmem() -> Any:
    function = ctypes.CDLL(None).memmem
    function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t)
    function.restype = ctypes.c_void_p
    return function
