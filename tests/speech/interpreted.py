"""Triton's kernels on a CPU, by its interpreter: each program is run by numpy. tests/conftest.py chooses it."""

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest
import torch

PACKAGE = "btworker.engine.asr.decoding.kernels"
IS_OLD = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 11)
has_interpreter = pytest.mark.skipif(
    IS_OLD or os.environ["TRITON_INTERPRET"] != "1",
    reason="Triton 2.2 (stack cu121) is not used; with a GPU the kernels are compiled, and tests/gpu compares them",
)


@contextmanager
def interpreted(*, sound_lanes: int = 512, rule_lanes: int = 1 << 16, norm_rows: int = 1024) -> Iterator[ModuleType]:
    """The module of the fused kernels; larger blocks than a GPU's take less of the interpreter's time."""
    with pytest.MonkeyPatch.context() as patch:
        fused = importlib.import_module(f"{PACKAGE}.fused")
        patch.setattr(fused, "SOUND_LANES", sound_lanes)
        patch.setattr(fused, "RULE_LANES", rule_lanes)
        patch.setattr(fused, "NORM_ROWS", norm_rows)
        yield fused
