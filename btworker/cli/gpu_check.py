"""The doctor's look at the GPUs: what the driver says of them, and whether torch can run a kernel on each.

torch is asked in a process of its own: importing it takes seconds and hundreds of MB, and a broken driver may kill it.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence

import pynvml

from btworker.cli.checks import Check, Verdict
from btworker.config import Settings, child_environment
from btworker.gpu_support import Problem, TorchFacts, ask_driver, judge, nvml
from btworker.pool.devices import NO_NVML, find_gpus
from btworker.specs import Device

PROBE = "btworker.engine.stack.gpu_probe"
"""Named, not imported: the command line holds no torch."""
PROBE_TIMEOUT_S = 120.0
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
    yield from _torch_on(gpus)


def _without(settings: Settings) -> Check:
    if settings.cuda_visible_devices is not None and find_gpus(None):
        found = "CUDA_VISIBLE_DEVICES names no GPU of this machine"
        return Check("GPU", Verdict.FAIL, found, "correct it, or say WORKER_DEVICE=cpu")
    if settings.device == "cuda":
        mend = "install NVIDIA's driver (nvidia-smi must work; in Docker: --gpus all), or WORKER_DEVICE=cpu"
        return Check("GPU", Verdict.FAIL, "WORKER_DEVICE=cuda, but the driver shows no GPU", mend)
    return Check("GPU", Verdict.WARN, NO_GPU, "on a machine with a GPU: install NVIDIA's driver (nvidia-smi must work)")


def _torch_on(gpus: Sequence[Device]) -> Iterator[Check]:
    """What torch makes of the GPUs, each seen alone as a worker's child sees it."""
    for gpu in gpus:
        label, answer = f"GPU {gpu.label}", probe(gpu)
        problem = Problem(answer, "make setup") if isinstance(answer, str) else judge(answer, ask_driver(gpu.uuid))
        if problem is None:
            yield Check(label, Verdict.OK, f"{gpu.name}: torch ran a kernel on it")
        else:
            yield Check(label, Verdict.FAIL, f"{gpu.name}: {problem.found}", problem.mend)


def probe(gpu: Device) -> TorchFacts | str:
    """Run one kernel in a process that sees this GPU alone: torch's facts, or why there are none."""
    environment = {**child_environment(), **({"CUDA_VISIBLE_DEVICES": gpu.uuid} if gpu.uuid else {})}
    command = [sys.executable, "-m", PROBE]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PROBE_TIMEOUT_S, check=False, env=environment
        )
    except subprocess.TimeoutExpired:
        return f"torch gave no answer within {PROBE_TIMEOUT_S:.0f} s"
    line = next((line for line in done.stdout.splitlines() if line.startswith("{")), None)
    if line is None or done.returncode != 0:
        words = (done.stderr.strip().splitlines() or [f"it died with {done.returncode}"])[-1]
        return f"torch cannot be asked: {words}"
    said = json.loads(line)
    return TorchFacts(**{**said, "architectures": tuple(said["architectures"])})


def _driver(count: int) -> Check:
    try:
        with nvml():
            return Check("driver", Verdict.OK, f"NVIDIA {pynvml.nvmlSystemGetDriverVersion()}, {count} GPU(s)")
    except pynvml.NVMLError as error:
        found = f"{count} GPU(s), without metrics and temperatures: NVML does not answer ({error})"
        return Check("driver", Verdict.WARN, found, NO_NVML)
