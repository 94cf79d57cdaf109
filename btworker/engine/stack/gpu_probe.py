"""One kernel on one GPU: whether torch can use what the driver shows. Runs in a child, or in a process of its own.

    python -m btworker.engine.stack.gpu_probe     # one line of JSON; btworker doctor starts it so for each GPU

The process sees the one GPU alone (CUDA_VISIBLE_DEVICES), so it is always cuda:0.
"""

import dataclasses
import json

import torch

from btworker.gpu_support import TorchFacts


def probe() -> TorchFacts:
    """Compute something and look at the result: a GPU that torch was not built for is there but cannot be used."""
    facts = TorchFacts(torch.__version__, torch.version.cuda, _architectures())
    try:
        total = int((torch.arange(8, device="cuda:0") * 2).sum().item())
        name = torch.cuda.get_device_name(0)
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built with CUDA
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        return dataclasses.replace(facts, error=reason)
    wrong = None if total == 56 else f"a kernel gave {total} for 56: the GPU computes wrongly"
    return dataclasses.replace(facts, name=name, error=wrong)


def _architectures() -> tuple[str, ...]:
    """Call torch.cuda.get_arch_list() without its condition that a GPU can be used: that is the question here."""
    flags = getattr(torch._C, "_cuda_getArchFlags", None)  # noqa: SLF001 - see above
    return tuple((flags() or "").split()) if flags is not None else ()


if __name__ == "__main__":
    print(json.dumps(dataclasses.asdict(probe())))  # noqa: T201 - this is the answer
