"""Which GPU, driver and torch go together, as a table: the fact, and the words that tell what to install."""

from typing import Any

import pytest

from btworker.gpu_support import OLDEST_DRIVERS, STACKS, DriverFacts, TorchFacts, judge

CU121 = ("2.2.2+cu121", "12.1", ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"))
CU130 = ("2.11.0+cu130", "13.0", ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"))
NO_CODE = "CUDA error: no kernel image is available for execution on the device"
OLD_DRIVER = "The NVIDIA driver on your system is too old (found version 12020)"
NEW = "580.95.05"


@pytest.mark.parametrize("stack", [CU121, CU130])
def test_a_kernel_that_ran_settles_it(stack: tuple) -> None:
    """Whatever the numbers say: forward compatibility packages and new drivers make more possible than tables know."""
    assert judge(TorchFacts(*stack, "Odd GPU", None), DriverFacts("1.0", "Odd GPU", (99, 0))) is None


@pytest.mark.parametrize(
    ("stack", "driver", "gpu", "capability", "error", "words"),
    [
        # Blackwell on the default stack: the other one, and its driver where this one is older
        (CU121, NEW, "NVIDIA B200", (10, 0), NO_CODE,
         ["B200 (sm_100) is newer than torch 2.2.2+cu121 has code for (sm_50 to sm_90)", "STACK=cu130"]),
        (CU121, NEW, "RTX 5090", (12, 0), NO_CODE, ["sm_120", "STACK=cu130 (torch 2.11.0)"]),
        (CU121, "570.86.10", "RTX 5090", (12, 0), NO_CODE, ["STACK=cu130", "driver 580.65.06 or newer", "570.86.10"]),
        # too old for the new stack, fine on the default one
        (CU130, NEW, "GTX 1080", (6, 1), NO_CODE, ["sm_61", "older than", "STACK=cu121"]),
        (CU130, NEW, "Tesla V100", (7, 0), NO_CODE, ["sm_70", "STACK=cu121"]),
        # no stack at all
        (CU121, NEW, "Tesla K80", (3, 7), NO_CODE, ["sm_37", "no stack", "WORKER_DEVICE=cpu"]),
        (CU130, NEW, "Next", (13, 0), NO_CODE, ["sm_130", "no stack"]),
        (CU130, NEW, "Thor", (11, 0), NO_CODE, ["sm_110", "none of those", "no stack"]),
        # drivers
        (CU130, "535.129.03", "NVIDIA H100", (9, 0), OLD_DRIVER,
         ["535.129.03 is too old for torch 2.11.0+cu130 with CUDA 13.0", "580.65.06 or newer", "STACK=cu121"]),
        (CU130, "535.129.03", "NVIDIA B200", (10, 0), OLD_DRIVER, ["too old", "580.65.06"]),
        (CU130, "470.57.02", "NVIDIA A100", (8, 0), OLD_DRIVER, ["too old", "580.65.06"]),
        (CU121, "470.57.02", "NVIDIA A100", (8, 0), OLD_DRIVER, ["too old", "525.60.13 or newer"]),
        (CU121, "525.60.13", "NVIDIA A100", (8, 0), "CUDA error: out of memory", ["out of memory", "nvidia-smi"]),
        # what else there is
        (CU121, NEW, "NVIDIA H100", (9, 0), "CUDA error: uncorrectable ECC error encountered", ["ECC", "dmesg"]),
        (("2.2.2", None, ()), NEW, "GH200", (9, 0), "Torch not compiled with CUDA enabled",
         ["without CUDA", "arm64", "WORKER_DEVICE=cpu"]),
        (CU121, None, None, None, "No CUDA GPUs are available", ["driver does not answer", "--gpus all"]),
        (CU121, NEW, None, None, "No CUDA GPUs are available", ["shows no GPU"]),
        (CU121, NEW, "MIG instance", None, NO_CODE, ["MIG instance", "no kernel image"]),
    ],
)  # fmt: skip
def test_what_to_install(stack: str, driver: Any, gpu: Any, capability: Any, error: Any, words: Any) -> None:
    """One row, one kind of machine."""
    problem = judge(TorchFacts(*stack, None, error), DriverFacts(driver, gpu, capability))
    assert problem is not None
    for word in words:
        assert word in problem.sentence
    assert problem.mend and "\n" not in problem.sentence


@pytest.mark.parametrize(
    ("driver", "capability"), [("470.57.02", (8, 0)), ("535.129.03", (10, 0)), ("535.129.03", (12, 0))]
)
def test_no_stack_is_named_that_would_not_do(driver: str, capability: tuple[int, int]) -> None:
    """The default stack is no way out for its own want of a driver, or of code for Blackwell."""
    problem = judge(TorchFacts(*CU130, None, OLD_DRIVER), DriverFacts(driver, "a GPU", capability))
    assert problem is not None
    assert "STACK=" not in problem.sentence


@pytest.mark.parametrize("capability", [(8, 7), (8, 9), (9, 0), (10, 3), (12, 1)])
def test_code_runs_on_later_minors(capability: tuple[int, int]) -> None:
    """Ada (8.9), Orin (8.7), B300 (10.3), GB10 (12.1) run code for 8.6, 10.0 and 12.0: another reason is sought."""
    problem = judge(TorchFacts(*CU130, None, "CUDA error: something"), DriverFacts(NEW, "a GPU", capability))
    assert problem is not None
    assert "has code for" not in problem.sentence


def test_the_stacks_need_the_drivers_of_their_cuda() -> None:
    """One table of drivers, not two opinions."""
    assert {stack.driver for stack in STACKS} <= set(OLDEST_DRIVERS.values())
