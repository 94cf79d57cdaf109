"""What the decoder holds of memory that it does not use."""

import gc
from pathlib import Path

import pytest
import torch

from btworker.engine.asr.decoding.memory import untouched_zeros
from btworker.engine.engine import load
from btworker.messages import Finished
from tests.speech.jobs import run, spec_for, task_for

pytestmark = pytest.mark.speech
CPU = torch.device("cpu")
MIB = 1 << 20


def own_bytes() -> int:
    """Memory of this process that is no file's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def tensor_bytes() -> int:
    """Memory of all tensors that are there, each counted once."""
    gc.collect()
    tensors = [one for one in gc.get_objects() if type(one) is torch.Tensor]
    arranged = [one for one in tensors if one.is_mkldnn]  # which nobody shares
    storages = [one.untyped_storage() for one in tensors if not one.is_mkldnn]
    own = sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
    return own + sum(one.numel() * one.element_size() for one in arranged)


def test_an_idle_child_holds_its_weights_once_and_nothing_of_its_jobs(
    random_checkpoint: Path, original: Path, tmp_path: Path
) -> None:
    """On a CPU: in float32, the embedding of tokens not a second time; after a job as much as before it."""
    state = torch.load(random_checkpoint, weights_only=True)["model_state_dict"]
    weights_bytes = sum(tensor.numel() * 4 for name, tensor in state.items() if name != "decoder.mask")
    before = tensor_bytes()
    engine = load(spec_for(random_checkpoint, tmp_path))
    engine.open()
    opened = tensor_bytes() - before
    assert weights_bytes * 0.95 < opened < weights_bytes + 4 * MIB  # with speech detection's own
    assert isinstance(run(engine, task_for(tmp_path / "job", original))[-1], Finished)
    assert tensor_bytes() - before < opened + MIB


def test_zeros_take_no_memory_until_they_are_written() -> None:
    """256 MB of them: a tenth is written, and no more than that is held."""
    before = own_bytes()
    zeros = untouched_zeros((64, 1024, 1024), torch.float32, CPU)
    assert own_bytes() - before < 8 * MIB
    zeros[:6] = 1
    # 24 MB, less what other threads gave back meanwhile: one page was seen
    assert 23 * MIB <= own_bytes() - before < 40 * MIB
    assert zeros[:6].eq(1).all() and zeros[-1].eq(0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.long])
@pytest.mark.parametrize("shape", [(3, 5), (1,), (0, 4)])
def test_they_are_like_any_zeros(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Shape, type and value, also where there are none."""
    zeros = untouched_zeros(shape, dtype, CPU)
    assert torch.equal(zeros, torch.zeros(shape, dtype=dtype)) and zeros.dtype is dtype
    assert zeros.is_contiguous()
