"""Which device each worker computes on. Runs in the parent, which asks NVML and never torch.

GPUs are given to children by UUID, so that neither their order nor a GPU that disappears can mix them up.
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import pynvml

from btworker.gpu_support import nvml
from btworker.logs import get_logger
from btworker.specs import Device

log = get_logger()

CPU = Device("cpu")
KERNEL = Path("/proc/driver/nvidia/gpus")
"""Where NVIDIA's driver lists its GPUs, also in a container without NVML."""
NO_NVML = "NVIDIA's management library is not here; in a container: NVIDIA_DRIVER_CAPABILITIES=compute,utility"
_NAMES_A_GPU = re.compile(r"\s*(\d|GPU-|MIG-)")
"""What CUDA_VISIBLE_DEVICES has unless it hides all GPUs."""
DeviceChoice = Literal["auto", "cuda", "cpu"]
T = TypeVar("T")
_UNREADABLE = (
    pynvml.NVMLError_NotSupported,
    pynvml.NVMLError_InvalidArgument,
    pynvml.NVMLError_NoPermission,
    pynvml.NVMLError_FunctionNotFound,
)
"""What NVML says of a value that this GPU does not have (a MIG instance has no utilisation of its own)."""


@dataclass(frozen=True, slots=True)
class GpuReading:
    """What NVML says of one GPU now; None where it does not tell."""

    label: str
    up: bool
    """The driver answers for it. A GPU that fell off the bus is down."""
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    utilization: float | None = None
    """0 to 1, over the driver's own last sample (up to a second)."""
    temperature_c: int | None = None


def find_gpus(selection: str | None, *, kernel: Path = KERNEL) -> tuple[Device, ...]:
    """Find the NVIDIA GPUs of this box that CUDA_VISIBLE_DEVICES (`selection`) allows; empty where there is none.

    A GPU that is lost is left out, and hides no other. Where none of those that are there answers: a device without a
    UUID, whose child says why it cannot work; never the CPU in silence.
    """
    try:
        with nvml():
            found = tuple(_gpu(index) for index in range(pynvml.nvmlDeviceGetCount()))
    except pynvml.NVMLError as error:
        found = tuple(_gpus_of_the_kernel(kernel))
        if found:
            log.warning("nvml_unavailable", reason=str(error), message=f"GPUs have no metrics: {NO_NVML}")
    usable = tuple(gpu for gpu in select(found, selection) if gpu.uuid is not None)
    if usable or all(gpu.uuid is not None for gpu in found):
        return usable
    return (Device("cuda"),) if selection is None or _NAMES_A_GPU.match(selection) else ()


def select(gpus: Sequence[Device], selection: str | None) -> tuple[Device, ...]:
    """The GPUs that a CUDA_VISIBLE_DEVICES value names, in its order.

    As in CUDA, indices count from 0, a UUID may be shortened, and the first name that fits nothing ends the list; an
    index counts in PCI bus order, as nvidia-smi shows it. A MIG instance passes through under its own UUID.
    """
    if selection is None:
        return tuple(gpus)
    chosen: list[Device] = []
    for name in (part.strip() for part in selection.split(",")):
        found = _named(gpus, name)
        if found is None:
            break
        chosen.append(found)
    return tuple(chosen)


@dataclass(frozen=True, slots=True)
class ChildPlace:
    """Where a child computes, and how many jobs it has at once."""

    device: Device
    slots: int = 1


def places(
    *, choice: DeviceChoice, gpus: Sequence[Device], slots: int | Literal["auto"], processes_per_device: int = 1
) -> tuple[ChildPlace, ...]:
    """The place of each child: as many on each device as allowed while there are slots for them, both spread evenly.

    auto: the GPUs, else the CPU; as slots: one per child. cuda without a GPU: a child that will say why it cannot work.
    """
    if choice == "cpu" or (choice == "auto" and not gpus):
        devices: Sequence[Device] = (CPU,)
    else:
        devices = gpus or (Device("cuda"),)
    most = len(devices) * processes_per_device
    total = most if slots == "auto" else slots
    count = min(total, most)
    return tuple(ChildPlace(devices[i % len(devices)], total // count + (i < total % count)) for i in range(count))


def threads_per_child(*, wanted: int, children: int) -> int:
    """CPU threads of each child: the operator's number, else the cores that we may use, shared out."""
    return wanted or max(1, len(os.sched_getaffinity(0)) // max(1, children))


def ffmpegs_per_child(*, children: int) -> int:
    """Recordings to decode ahead: one for four of the child's cores."""
    return max(1, threads_per_child(wanted=0, children=children) // 4)


def read_gpus(devices: Sequence[Device]) -> tuple[GpuReading, ...]:
    """One reading for each GPU. Blocking, and for ever where the driver hangs: gpu_watch.py calls it in a thread."""
    try:
        with nvml():
            return tuple(_read(device) for device in devices)
    except pynvml.NVMLError:
        return gpus_down(devices)


def gpus_down(devices: Sequence[Device]) -> tuple[GpuReading, ...]:
    """The readings where the driver says nothing."""
    return tuple(GpuReading(device.label, up=False) for device in devices)


def _read(device: Device) -> GpuReading:
    if device.uuid is None:  # a GPU was asked for and none was found
        return GpuReading(device.label, up=False)
    try:
        handle = pynvml.nvmlDeviceGetHandleByUUID(device.uuid)
        memory = _readable(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle))
        rates = _readable(lambda: pynvml.nvmlDeviceGetUtilizationRates(handle))
        temperature_c = _readable(lambda: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))
    except pynvml.NVMLError:
        return GpuReading(device.label, up=False)
    return GpuReading(
        device.label,
        up=True,
        memory_used_bytes=None if memory is None else memory.used,
        memory_total_bytes=None if memory is None else memory.total,
        utilization=None if rates is None else rates.gpu / 100,
        temperature_c=temperature_c,
    )


def _readable(question: Callable[[], T]) -> T | None:
    try:
        return question()
    except _UNREADABLE:
        return None


def _gpu(index: int) -> Device:
    """Ask for one GPU; it has no UUID where it does not answer."""
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        return Device("cuda", pynvml.nvmlDeviceGetUUID(handle), pynvml.nvmlDeviceGetName(handle), index)
    except pynvml.NVMLError as error:
        log.warning("gpu_lost", gpu=index, reason=str(error), message="this GPU is left out; see the kernel's log")
        return Device("cuda", index=index)


def _gpus_of_the_kernel(folder: Path) -> Iterator[Device]:
    """Read the list of the driver in the kernel, in PCI bus order as NVML counts."""
    for index, path in enumerate(sorted(folder.glob("*/information"))):
        try:
            facts = dict(re.findall(r"^([^:]+?)\s*:\s*(.+?)\s*$", path.read_text(), re.MULTILINE))
        except OSError:
            facts = {}
        uuid = facts.get("GPU UUID", "")
        yield Device("cuda", uuid if re.fullmatch(r"GPU-[0-9a-f-]{36}", uuid) else None, facts.get("Model"), index)


def _named(gpus: Sequence[Device], name: str) -> Device | None:
    if name.startswith("MIG-"):
        return Device("cuda", name, "MIG instance", None)
    for gpu in gpus:
        if (name.isdecimal() and gpu.index == int(name)) or (len(name) > 4 and (gpu.uuid or "").startswith(name)):
            return gpu
    return None
