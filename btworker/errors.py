"""Every error that a user can meet: a stable code, a sentence, and whether trying again can help.

Used in all processes. HTTP numbers live in web/middlewares.py, not here.
"""

from dataclasses import dataclass
from enum import Enum


class ErrorCode(str, Enum):
    """Stable names, part of the wire contract."""

    # Refusals of a request
    BAD_OPTION = "BAD_OPTION"
    BAD_MULTIPART = "BAD_MULTIPART"
    BAD_REQUEST = "BAD_REQUEST"
    NO_FILE = "NO_FILE"
    EMPTY_FILE = "EMPTY_FILE"
    UNAUTHORIZED = "UNAUTHORIZED"
    URL_REFUSED = "URL_REFUSED"
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    IDLE_TIMEOUT = "IDLE_TIMEOUT"
    CONFLICT = "CONFLICT"
    GONE = "GONE"
    LOCKED = "LOCKED"
    CHECKSUM_MISMATCH = "CHECKSUM_MISMATCH"
    UNKNOWN_VERSION = "UNKNOWN_VERSION"
    LENGTH_REQUIRED = "LENGTH_REQUIRED"
    FILE_TOO_LARGE = "FILE_TOO_LARGE"
    UNSUPPORTED_MEDIA = "UNSUPPORTED_MEDIA"
    RANGE_NOT_SATISFIABLE = "RANGE_NOT_SATISFIABLE"
    QUEUE_FULL = "QUEUE_FULL"
    DRAINING = "DRAINING"
    NOT_READY = "NOT_READY"
    INTERNAL = "INTERNAL"
    # Failures of a job (DISK_FULL and BAD_OPTION are refusals too)
    DISK_FULL = "DISK_FULL"
    NO_AUDIO = "NO_AUDIO"
    CORRUPT_AUDIO = "CORRUPT_AUDIO"
    AUDIO_TOO_LONG = "AUDIO_TOO_LONG"
    MODEL_UNAVAILABLE = "MODEL_UNAVAILABLE"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    GPU_ERROR = "GPU_ERROR"
    WORKER_CRASHED = "WORKER_CRASHED"
    TIMEOUT = "TIMEOUT"
    DOWNLOAD_FAILED = "DOWNLOAD_FAILED"
    DELIVERY_FAILED = "DELIVERY_FAILED"
    CANCELED = "CANCELED"
    PROCESSING_ERROR = "PROCESSING_ERROR"


RETRYABLE = frozenset(
    {
        ErrorCode.IDLE_TIMEOUT,
        ErrorCode.LOCKED,
        ErrorCode.CHECKSUM_MISMATCH,
        ErrorCode.QUEUE_FULL,
        ErrorCode.DRAINING,
        ErrorCode.NOT_READY,
        ErrorCode.INTERNAL,
        ErrorCode.DISK_FULL,
        ErrorCode.OUT_OF_MEMORY,
        ErrorCode.GPU_ERROR,
        ErrorCode.WORKER_CRASHED,
        ErrorCode.TIMEOUT,
        ErrorCode.DOWNLOAD_FAILED,
        ErrorCode.DELIVERY_FAILED,
    }
)
"""Codes after which the same request may succeed later."""

FAILURE_REASONS: dict[ErrorCode, str] = {
    ErrorCode.BAD_OPTION: "input",
    ErrorCode.EMPTY_FILE: "input",
    ErrorCode.FILE_TOO_LARGE: "input",
    ErrorCode.NO_AUDIO: "input",
    ErrorCode.CORRUPT_AUDIO: "input",
    ErrorCode.AUDIO_TOO_LONG: "input",
    ErrorCode.MODEL_UNAVAILABLE: "internal",
    ErrorCode.OUT_OF_MEMORY: "gpu_oom",
    ErrorCode.GPU_ERROR: "gpu_error",
    ErrorCode.WORKER_CRASHED: "worker_crash",
    ErrorCode.TIMEOUT: "timeout",
    ErrorCode.DISK_FULL: "disk_full",
    ErrorCode.URL_REFUSED: "delivery",
    ErrorCode.DOWNLOAD_FAILED: "delivery",
    ErrorCode.DELIVERY_FAILED: "delivery",
    ErrorCode.CANCELED: "canceled",
    ErrorCode.PROCESSING_ERROR: "internal",
}
"""A job's failure code -> the `reason` label of btworker_jobs_total, a closed list."""


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """An error as a record: what crosses process boundaries and is stored with a job."""

    code: ErrorCode
    message: str

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return self.code in RETRYABLE


class BtworkerError(Exception):
    """An error that is meant for the user: raise it anywhere, an edge turns it into an answer or a job's failure."""

    def __init__(self, code: ErrorCode, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param

    @property
    def info(self) -> ErrorInfo:
        """The same error as a record."""
        return ErrorInfo(self.code, self.message)


def lacks_language(model: str, language: str) -> str:
    """What is said of a model that does not know the language that a job asks for; both sides may find it out."""
    return f"the model {model!r} does not know {language}; ask for another model, or leave the language out"


class StartupError(Exception):
    """The service cannot start: one sentence for the operator and the exit code of `btworker serve`."""

    def __init__(self, message: str, *, exit_code: int) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code


EXIT_BAD_SETTINGS = 64
"""EX_USAGE of sysexits.h: wrong or missing settings."""
EXIT_DATA_FOLDER = 73
"""EX_CANTCREAT: the data folder, the scratch folder or the ready file cannot be written, or is in use."""
EXIT_DATABASE = 65
"""EX_DATAERR: the job database is damaged or not ours."""
EXIT_PORT = 69
"""EX_UNAVAILABLE: the address cannot be bound."""
