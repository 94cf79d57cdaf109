"""Freed memory that the C library keeps for the next allocation. Runs in the child."""

import ctypes


def give_back_freed_memory() -> None:
    """Return it to the system; does nothing where the C library is not glibc."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
