"""Which errors of torch and of the system break the child for good, which are about memory, and which are neither."""

import errno

import pytest

from btworker.engine.stack.faults import translate
from btworker.errors import ErrorCode

STICKY = [
    "CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported at some other API",
    "CUDA error: an illegal memory access was encountered",
    "CUDA error: unspecified launch failure",
    "CUDA error: misaligned address",
    "CUDA error: uncorrectable ECC error encountered",
    "CUDA error: the launch timed out and was terminated",
    "CUDA error: no kernel image is available for execution on the device",
    "CUDA driver error: unknown error",
    "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`",
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
    "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    "cuFFT error: CUFFT_INTERNAL_ERROR",
    "cuFFT error: CUFFT_EXEC_FAILED",
    "nvrtc: error: failed to open libnvrtc-builtins.so.12.1.\n  Make sure that libnvrtc-builtins.so.12.1 is installed",
    "GET was unable to find an engine to execute this computation",
    "FIND was unable to find an engine to execute this computation after trying 5 plans.",
    "Triton Error [CUDA]: an illegal memory access was encountered",
]
MEMORY = [
    "CUDA out of memory. Tried to allocate 1.95 GiB. GPU 0 has a total capacity of 7.79 GiB",
    "CUDA error: out of memory",
    "cuFFT error: CUFFT_ALLOC_FAILED",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
    "[enforce fail at alloc_cpu.cpp:83] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate",
    "DefaultCPUAllocator: not enough memory: you tried to allocate 8589934592 bytes",
]
NEITHER = ["The size of tensor a (3) must match the size of tensor b (4)", "expected scalar type Half but found Float"]


@pytest.mark.parametrize("text", STICKY)
def test_a_broken_context_is_a_gpu_error(text: str) -> None:
    """GPU_ERROR is what replaces the child (pool/child.py); the user's sentence holds nothing of torch's."""
    error = translate(RuntimeError(text))
    assert error is not None and error.code is ErrorCode.GPU_ERROR
    assert "CUDA" not in error.message


@pytest.mark.parametrize("text", MEMORY)
def test_no_memory_is_not_a_broken_context(text: str) -> None:
    """The child goes on after OUT_OF_MEMORY."""
    error = translate(RuntimeError(text))
    assert error is not None and error.code is ErrorCode.OUT_OF_MEMORY
    assert ("GPU" in error.message) is ("CPU" not in text and "alloc_cpu" not in text)


def test_memory_and_disk_of_the_system() -> None:
    """Python's own MemoryError, a full disk and a full quota have codes; other errors of the system do not."""
    assert translate(MemoryError()).code is ErrorCode.OUT_OF_MEMORY
    for number in (errno.ENOSPC, errno.EDQUOT):
        assert translate(OSError(number, "full")).code is ErrorCode.DISK_FULL
    assert translate(OSError(errno.EIO, "input/output error")) is None


@pytest.mark.parametrize("text", NEITHER)
def test_a_bug_is_not_the_gpus(text: str) -> None:
    """An error of our own keeps the child, and fails the job as PROCESSING_ERROR."""
    assert translate(RuntimeError(text)) is None
