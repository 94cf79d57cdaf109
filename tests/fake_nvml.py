"""NVIDIA's driver library as far as btworker asks it, for machines without a GPU: the functions of pynvml replaced."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace

import pynvml
import pytest


@dataclass(frozen=True, slots=True)
class Gpu:
    """What the driver says of one GPU. Not `whole`: a MIG instance, which has a memory and nothing else."""

    used: int = 1 << 30
    total: int = 80 << 30
    whole: bool = True


def install(monkeypatch: pytest.MonkeyPatch, gpus: Mapping[str, Gpu]) -> None:
    """Let pynvml know these GPUs by UUID until the end of the test; every other one is lost."""

    def handle(uuid: str) -> Gpu:
        if uuid not in gpus:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return gpus[uuid]

    def of_whole(gpu: Gpu, value: object) -> object:
        if not gpu.whole:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return value

    for name, function in {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetHandleByUUID": handle,
        "nvmlDeviceGetMemoryInfo": lambda gpu: SimpleNamespace(used=gpu.used, total=gpu.total),
        "nvmlDeviceGetUtilizationRates": lambda gpu: of_whole(gpu, SimpleNamespace(gpu=50, memory=10)),
        "nvmlDeviceGetTemperature": lambda gpu, _sensor: of_whole(gpu, 40),
    }.items():
        monkeypatch.setattr(pynvml, name, function)
