"""Errors of torch and of the system -> errors that a user understands. Runs in the child, around a job's work."""

import errno
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from btworker.errors import BtworkerError, ErrorCode
from btworker.logs import get_logger

log = get_logger()

GPU_WORDS = (
    "CUDA",
    "cuDNN",
    "CUBLAS",
    "cublas",
    "cuFFT",
    "CUFFT",
    "cuSOLVER",
    "NVRTC",
    "nvrtc",
    "NVML",
    "device-side assert",
    "Triton Error",
    "unable to find an engine to execute",
)
MEMORY_WORDS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUFFT_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "ALLOCATION_FAILED",  # cuDNN 9: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED
)


@contextmanager
def translated() -> Iterator[None]:
    """Raise what happens inside as a BtworkerError where there is a code for it."""
    try:
        yield
    except (MemoryError, OSError, RuntimeError) as error:
        known = translate(error)
        if known is None:
            raise
        raise known from error


def translate(error: BaseException) -> BtworkerError | None:
    """Make the user's side of an error; None where there is no code for it. Torch's own errors are RuntimeErrors."""
    text = str(error)
    if isinstance(error, OSError):
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return BtworkerError(ErrorCode.DISK_FULL, "the worker's disk is full; try again later")
        return None
    if isinstance(error, MemoryError) or any(word in text for word in MEMORY_WORDS):
        where = "the GPU" if any(word in text for word in GPU_WORDS) else "the worker"
        return BtworkerError(
            ErrorCode.OUT_OF_MEMORY, f"{where} ran out of memory; try again, or ask for a smaller model"
        )
    if any(word in text for word in GPU_WORDS):
        return BtworkerError(ErrorCode.GPU_ERROR, "the GPU reported an error while it worked on this job; try again")
    return None


def is_short_of_memory(error: BaseException | None) -> bool:
    """Whether there was no memory for it. Torch has an error of its own for that, of its allocator alone: cuBLAS, cuDNN
    and the driver, which has graphs and kernels, take memory beside it."""
    known = None if error is None else translate(error)
    return known is not None and known.code is ErrorCode.OUT_OF_MEMORY


def error_of(work: Callable[[], None]) -> Exception | None:
    """Return what goes wrong in work of the decoder, without its traceback, whose frames hold the lanes and their
    memory; the log has all of it."""
    try:
        work()
    except Exception as error:  # noqa: BLE001 - an edge: nobody is left waiting, whoever drove
        log.warning("decoder_failed", exception="".join(traceback.format_exception(error)))
        return without_frames(error)
    return None


def without_frames(error: Exception) -> Exception:
    """Cut off what holds the frames in which an error was raised, or others that led to it."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
