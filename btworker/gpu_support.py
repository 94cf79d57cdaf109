"""Can this torch use this GPU with this driver? The facts, and the judgement with what to do. Imports no torch.

The engine's child asks before it loads a model (engine/stack/surroundings.py), `btworker doctor` shows the same words.
What torch says by itself ("no kernel image is available for execution on the device") does not tell what to install.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pynvml

Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stack:
    """What one of the pinned stacks was built for."""

    name: str
    torch: str
    lowest: Version
    """Compute capability of the oldest GPUs that it has code for."""
    highest: Version
    driver: str
    """NVIDIA's oldest driver for its CUDA (release notes of the CUDA toolkit, minor version compatibility)."""


STACKS = (
    Stack("cu121", "2.2.2", (5, 0), (9, 0), "525.60.13"),
    Stack("cu130", "2.11.0", (7, 5), (12, 1), "580.65.06"),
)
OLDEST_DRIVERS = {11: "450.80.02", 12: "525.60.13", 13: "580.65.06"}
"""Major version of CUDA -> the oldest driver on which its builds of torch run."""


@dataclass(frozen=True, slots=True)
class TorchFacts:
    """What torch says in a process that sees this GPU alone."""

    version: str
    cuda: str | None
    """The CUDA that it was built for, like "12.1"; None for a build without."""
    architectures: tuple[str, ...] = ()
    """What it has code for, like "sm_90"; empty where it does not say."""
    name: str | None = None
    """The GPU's name; None where torch does not get that far."""
    error: str | None = None
    """Why a kernel did not run; None when one did and its result was right."""


@dataclass(frozen=True, slots=True)
class DriverFacts:
    """What the driver says of this GPU, by NVML; None where it does not say."""

    version: str | None = None
    name: str | None = None
    capability: Version | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a GPU cannot be used, and what to do about it."""

    found: str
    mend: str

    @property
    def sentence(self) -> str:
        """Both as one line."""
        return f"{self.found}; {self.mend}"


def judge(torch: TorchFacts, driver: DriverFacts) -> Problem | None:
    """None when a kernel ran; else the likeliest reason why none did. Pure."""
    if torch.error is None:
        return None
    checks = (_no_driver, _no_cuda, _architecture, _old_driver)
    return next((problem for check in checks if (problem := check(torch, driver))), None) or Problem(
        f"torch {torch.version} cannot use the GPU {driver.name or torch.name or ''}".rstrip() + f": {torch.error}",
        "look at nvidia-smi and the kernel's log (dmesg), free the GPU of other programs, then start again",
    )


def _no_driver(_torch: TorchFacts, driver: DriverFacts) -> Problem | None:
    if driver.version is not None and driver.name is not None:
        return None
    mend = "install it (nvidia-smi must work; in a container: --gpus all), or set WORKER_DEVICE=cpu"
    return Problem("NVIDIA's driver does not answer here, or shows no GPU", mend)


def _no_cuda(torch: TorchFacts, _driver: DriverFacts) -> Problem | None:
    if torch.cuda is not None:
        return None
    mend = "install a build with CUDA (on arm64 the default stack has none), or set WORKER_DEVICE=cpu"
    return Problem(f"torch {torch.version} was built without CUDA", mend)


def _architecture(torch: TorchFacts, driver: DriverFacts) -> Problem | None:
    """The GPU is newer, or older, than all that torch has code for."""
    wanted, known = driver.capability, _capabilities(torch)
    if wanted is None or not known or any(major == wanted[0] and minor <= wanted[1] for major, minor in known):
        return None  # code for sm_80 runs on every 8.x from 8.0 on, and on no 9.x
    age = "newer than" if wanted > max(known) else "older than" if wanted < min(known) else "none of those that"
    gpu = f"the GPU {driver.name} ({_sm(wanted)})" if driver.name else f"the GPU ({_sm(wanted)})"
    span = f"{_sm(min(known))} to {_sm(max(known))}"
    found = f"{gpu} is {age} torch {torch.version} has code for ({span})"
    stack = next((stack for stack in _others(torch) if stack.lowest <= wanted <= stack.highest), None)
    if stack is None:
        return Problem(found, "no stack of this release has code for it: another GPU, or WORKER_DEVICE=cpu")
    return Problem(found, f"install with STACK={stack.name} (torch {stack.torch}){_driver_for(stack, driver)}")


def _old_driver(torch: TorchFacts, driver: DriverFacts) -> Problem | None:
    oldest = OLDEST_DRIVERS.get(_version(torch.cuda or "")[0] if torch.cuda else 0)
    if oldest is None or driver.version is None or _version(driver.version) >= _version(oldest):
        return None
    found = f"NVIDIA's driver {driver.version} is too old for torch {torch.version} with CUDA {torch.cuda}"
    mend = f"install driver {oldest} or newer"
    other = next((stack for stack in _others(torch) if _fits(stack, driver)), None)
    return Problem(found, mend if other is None else f"{mend}, or install with STACK={other.name}")


def _fits(stack: Stack, driver: DriverFacts) -> bool:
    capability = driver.capability
    in_reach = capability is None or stack.lowest <= capability <= stack.highest
    return in_reach and _version(driver.version or "0") >= _version(stack.driver)


def _driver_for(stack: Stack, driver: DriverFacts) -> str:
    if driver.version is None or _version(driver.version) >= _version(stack.driver):
        return ""
    return f" and NVIDIA's driver {stack.driver} or newer (this is {driver.version})"


def _others(torch: TorchFacts) -> list[Stack]:
    return [stack for stack in STACKS if stack.torch != torch.version.partition("+")[0]]


def _capabilities(torch: TorchFacts) -> frozenset[Version]:
    """("sm_75", "sm_120", "sm_90a") -> {(7, 5), (12, 0), (9, 0)}."""
    found = (re.fullmatch(r"sm_(\d+)(\d)[a-z]?", name) for name in torch.architectures)
    return frozenset((int(match[1]), int(match[2])) for match in found if match)


def _sm(capability: Version) -> str:
    return f"sm_{capability[0]}{capability[1]}"


def _version(text: str) -> Version:
    return tuple(int(part) for part in re.findall(r"\d+", text)) or (0,)


@contextmanager
def nvml() -> Iterator[None]:
    """NVIDIA's management library for the length of a block. Raises pynvml.NVMLError where there is no driver."""
    pynvml.nvmlInit()
    try:
        yield
    finally:
        with suppress(pynvml.NVMLError):  # a driver that was unloaded meanwhile
            pynvml.nvmlShutdown()


def ask_driver(uuid: str | None) -> DriverFacts:
    """What NVML knows of the GPU (or MIG instance) with this UUID; the first GPU without one."""
    version = name = capability = None
    # What is known when it stops to answer counts: a MIG instance answers less than a GPU, no driver nothing
    with suppress(pynvml.NVMLError), nvml():
        version = str(pynvml.nvmlSystemGetDriverVersion())
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid) if uuid else pynvml.nvmlDeviceGetHandleByIndex(0)
        name = str(pynvml.nvmlDeviceGetName(handle))
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
        capability = (int(major), int(minor))
    return DriverFacts(version, name, capability)
