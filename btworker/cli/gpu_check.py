"""The doctor's look at the GPUs: what the driver says of them, and whether torch can run a kernel on each.

torch is asked in a process of its own (probing.py).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import pynvml

from btworker.cli.checks import INSTALL_AGAIN, Check, Verdict
from btworker.cli.probing import ask
from btworker.config import Settings
from btworker.gpu_support import Problem, TorchFacts, ask_driver, judge, nvml
from btworker.pool.devices import NO_NVML, find_gpus
from btworker.specs import Device

PROBE = "btworker.engine.stack.gpu_probe"
"""Named, not imported: the command line holds no torch."""
KERNELS = "btworker.engine.asr.decoding.kernels.choosing"
NO_GPU = "none: the CPU does the work, which is fine for small models and slow for large-v3"


def gpu_checks(settings: Settings) -> Iterator[Check]:
    """One check for the driver, one for each GPU that the worker would use."""
    if settings.device == "cpu":
        yield Check("GPU", Verdict.OK, "not used: WORKER_DEVICE=cpu")
        return
    gpus = find_gpus(settings.cuda_visible_devices)
    if not gpus:
        yield _without(settings)
        return
    yield _driver(len(gpus))
    yield from _torch_on(gpus, wanted=settings.triton)


def _without(settings: Settings) -> Check:
    if settings.cuda_visible_devices is not None and find_gpus(None):
        found = "CUDA_VISIBLE_DEVICES names no GPU of this machine"
        return Check("GPU", Verdict.FAIL, found, "correct it, or say WORKER_DEVICE=cpu")
    if settings.device == "cuda":
        mend = "install NVIDIA's driver (nvidia-smi must work; in Docker: --gpus all), or WORKER_DEVICE=cpu"
        return Check("GPU", Verdict.FAIL, "WORKER_DEVICE=cuda, but the driver shows no GPU", mend)
    return Check("GPU", Verdict.WARN, NO_GPU, "on a machine with a GPU: install NVIDIA's driver (nvidia-smi must work)")


def _torch_on(gpus: Sequence[Device], *, wanted: bool) -> Iterator[Check]:
    """What torch makes of each GPU, seen alone as a worker's child sees it, and which kernels steps are made of."""
    for gpu in gpus:
        label, answer = f"GPU {gpu.label}", probe(gpu)
        problem = Problem(answer, INSTALL_AGAIN) if isinstance(answer, str) else judge(answer, ask_driver(gpu.uuid))
        if problem is None:
            yield Check(label, Verdict.OK, f"{gpu.name}: torch ran a kernel on it")
            yield _kernels_on(gpu, wanted=wanted)
        else:
            yield Check(label, Verdict.FAIL, f"{gpu.name}: {problem.found}", problem.mend)


def _kernels_on(gpu: Device, *, wanted: bool) -> Check:
    """Which kernels steps of decoding are made of."""
    label, plain = f"kernels {gpu.label}", "torch's own make the steps of decoding, at about two thirds of the speed"
    if not wanted:
        return Check(label, Verdict.OK, f"{plain}: WORKER_TRITON=0")
    answer = _ask(KERNELS, gpu)
    problem = answer if isinstance(answer, str) else answer["problem"]
    if problem is None:
        return Check(label, Verdict.OK, "Triton's make the steps of decoding: each gave what torch gives")
    return Check(label, Verdict.WARN, f"{plain}: {problem}", "docs/decoding.md says what they need")


def probe(gpu: Device) -> TorchFacts | str:
    """Run one kernel in a process that sees this GPU alone: torch's facts, or why there are none."""
    answer = _ask(PROBE, gpu)
    if isinstance(answer, str):
        return answer
    return TorchFacts(**{**answer, "architectures": tuple(answer["architectures"])})


def _ask(module: str, gpu: Device) -> dict[str, Any] | str:
    """Ask a module that sees this GPU alone."""
    return ask(module, {"CUDA_VISIBLE_DEVICES": gpu.uuid} if gpu.uuid else {})


def _driver(count: int) -> Check:
    try:
        with nvml():
            return Check("driver", Verdict.OK, f"NVIDIA {pynvml.nvmlSystemGetDriverVersion()}, {count} GPU(s)")
    except pynvml.NVMLError as error:
        found = f"{count} GPU(s), without metrics and temperatures: NVML does not answer ({error})"
        return Check("driver", Verdict.WARN, found, NO_NVML)
