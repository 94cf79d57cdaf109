"""Which GPUs are found: one that is lost hides no other, and GPUs that do not answer are no CPU in silence."""

from collections.abc import Collection
from pathlib import Path

import pynvml
import pytest

from btworker.pool.devices import find_gpus, places
from btworker.specs import Device

NOWHERE = Path("/nowhere")
NO_LIBRARY = pynvml.NVML_ERROR_LIBRARY_NOT_FOUND


def install(monkeypatch: pytest.MonkeyPatch, count: int, lost: Collection[int] = (), *, error: int = 0) -> None:
    """Let NVML have so many GPUs, some of them lost; or raise an error at once."""

    def init() -> None:
        if error:
            raise pynvml.NVMLError(error)

    def handle(index: int) -> int:
        if index in lost:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return index

    for name, function in {
        "nvmlInit": init,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: count,
        "nvmlDeviceGetHandleByIndex": handle,
        "nvmlDeviceGetUUID": lambda index: f"GPU-{index}",
        "nvmlDeviceGetName": lambda _index: "NVIDIA H200",
    }.items():
        monkeypatch.setattr(pynvml, name, function)


def list_in_kernel(folder: Path, *uuids: str) -> Path:
    """Write what the driver's part in the kernel says of GPUs."""
    for number, uuid in enumerate(uuids):
        path = folder / f"0000:{number:02x}:00.0" / "information"
        path.parent.mkdir(parents=True)
        path.write_text(f"Model: \t\t NVIDIA H200\nIRQ:   \t\t 16\nGPU UUID: \t {uuid}\nBus Type: \t PCIe\n")
    return folder


def test_a_lost_gpu_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Number 5 of 8 fell off the bus: the others are used under their own numbers, also where a selection names it."""
    install(monkeypatch, 8, lost={5})
    assert [gpu.index for gpu in find_gpus(None, kernel=NOWHERE)] == [0, 1, 2, 3, 4, 6, 7]
    assert [gpu.index for gpu in find_gpus("4,5,6", kernel=NOWHERE)] == [4, 6]


@pytest.mark.parametrize("selection", [None, "0", "0,1", "GPU-0"])
def test_gpus_that_are_all_lost_are_no_cpu(monkeypatch: pytest.MonkeyPatch, selection: str | None) -> None:
    """The child that is started for them says why it cannot work."""
    install(monkeypatch, 2, lost={0, 1})
    gpus = find_gpus(selection, kernel=NOWHERE)
    assert [place.device for place in places(choice="auto", gpus=gpus, slots="auto")] == [Device("cuda")]


@pytest.mark.parametrize("selection", ["", "-1"])
def test_gpus_that_are_hidden_on_purpose_are(monkeypatch: pytest.MonkeyPatch, selection: str) -> None:
    """Lost ones or not: whoever hides all GPUs gets the CPU."""
    install(monkeypatch, 2, lost={1})
    assert find_gpus(selection, kernel=NOWHERE) == ()


@pytest.mark.parametrize("error", [NO_LIBRARY, pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH])
def test_without_nvml_the_kernel_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: int) -> None:
    """As in a container without the `utility` capability: GPUs have their UUIDs and names, and can be selected."""
    install(monkeypatch, 0, error=error)
    uuids = [f"GPU-{number:08x}-0000-0000-0000-000000000000" for number in range(2)]
    kernel = list_in_kernel(tmp_path, *uuids)
    assert find_gpus(None, kernel=kernel) == tuple(
        Device("cuda", uuid, "NVIDIA H200", n) for n, uuid in enumerate(uuids)
    )
    assert [gpu.uuid for gpu in find_gpus("1", kernel=kernel)] == uuids[1:]


def test_a_gpu_that_the_kernel_cannot_name_is_no_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A lost one has question marks for its UUID."""
    install(monkeypatch, 0, error=NO_LIBRARY)
    assert find_gpus(None, kernel=list_in_kernel(tmp_path, "GPU-????????-????-????-????-????????????")) == (
        Device("cuda"),
    )


def test_a_machine_without_a_driver_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither NVML nor the kernel knows one: the CPU does the work."""
    install(monkeypatch, 0, error=NO_LIBRARY)
    assert find_gpus(None, kernel=tmp_path) == ()
