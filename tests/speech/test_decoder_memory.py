"""What the decoder holds of memory that it does not use."""

from pathlib import Path

import pytest
import torch

from btworker.engine.asr.decoding.memory import untouched_zeros

pytestmark = pytest.mark.speech
CPU = torch.device("cpu")
MIB = 1 << 20


def own_bytes() -> int:
    """Memory of this process that is no file's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def test_zeros_take_no_memory_until_they_are_written() -> None:
    """256 MB of them: a tenth is written, and no more than that is held."""
    before = own_bytes()
    zeros = untouched_zeros((64, 1024, 1024), torch.float32, CPU)
    assert own_bytes() - before < 8 * MIB
    zeros[:6] = 1
    assert 24 * MIB <= own_bytes() - before < 40 * MIB
    assert zeros[:6].eq(1).all() and zeros[-1].eq(0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.long])
@pytest.mark.parametrize("shape", [(3, 5), (1,), (0, 4)])
def test_they_are_like_any_zeros(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Shape, type and value, also where there are none."""
    zeros = untouched_zeros(shape, dtype, CPU)
    assert torch.equal(zeros, torch.zeros(shape, dtype=dtype)) and zeros.dtype is dtype
    assert zeros.is_contiguous()
