"""How fast this machine reads memory and multiplies matrices, for the roof; and what it is."""

import os
import platform
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import torch
from whisper import timing

from bench.speed.roof import Machine

TRIES = 5
READ_BYTES = {"cuda": 2 << 30, "cpu": 512 << 20}
"""Far more than any cache holds."""
MATRIX = {"cuda": 8192, "cpu": 2048}


def hold_threads(threads: int) -> None:
    """Let torch use so many CPU threads, and no more.

    numba, which word times are found with, starts its threads at its first use and sets OpenMP's number to all cores
    then, torch's with it: so that comes first.
    """
    timing.dtw_cpu(np.zeros((2, 3)))
    torch.set_num_threads(threads)


def synchronize(device: torch.device) -> None:
    """Wait until all is done that was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def fastest_s(device: torch.device, work: Callable[[], object]) -> float:
    """The best of some tries after one that warms up."""
    times = []
    for _ in range(TRIES + 1):
        start = time.perf_counter()
        work()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times[1:])


@torch.inference_mode()
def measure(device: torch.device, dtype: torch.dtype, *, small: bool = False) -> Machine:
    """Bytes per second of a copy or of a sum, whichever is faster, and FLOP/s of a square product in this dtype."""
    shrink = 16 if small else 1
    count = READ_BYTES[device.type] // shrink // 4
    source, target = (torch.ones(count, device=device) for _ in range(2))
    copying_s = fastest_s(device, lambda: target.copy_(source))
    reading_s = fastest_s(device, source.sum)
    size = MATRIX[device.type] // (4 if small else 1)
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    product_s = fastest_s(device, lambda: left @ right)
    return Machine(max(8 * count / copying_s, 4 * count / reading_s), 2 * size**3 / product_s)


def description(device: torch.device) -> dict[str, str]:
    """Card, driver and versions, for whoever reads the figures later."""
    facts = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "openai-whisper": version("openai-whisper"),
        "cores": str(os.cpu_count()),
        "processor": _processor(),
        "torch threads": str(torch.get_num_threads()),
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }
    if device.type == "cuda":
        facts |= {"card": torch.cuda.get_device_name(device), "cuda": str(torch.version.cuda), "driver": _driver()}
    return facts


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[0]
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
