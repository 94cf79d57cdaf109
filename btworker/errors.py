"""Every error that a user can meet: a stable code, a sentence, and whether trying again can help.

Used in all processes.
"""

from dataclasses import dataclass
from enum import Enum


class ErrorCode(str, Enum):
    """Stable names, part of the wire contract, and what each means; a row for each code.

    Its HTTP status as a refusal of a request, None where it only ends jobs; whether the same request may succeed later;
    and, of a code that ends jobs, the `reason` label of btworker_jobs_total, a closed list.
    """

    status: int | None
    """HTTP status of a refusal; None where no request is refused with it."""
    retryable: bool
    """Whether the same request may succeed later."""
    reason: str | None
    """Label of a job's failure in metrics; None where no job fails with it."""

    def __new__(cls, code: str, status: int | None, retryable: bool, reason: str | None) -> "ErrorCode":  # noqa: FBT001, PYI034
        """Make the member of a row."""
        self = str.__new__(cls, code)
        self._value_ = code
        self.status, self.retryable, self.reason = status, retryable, reason
        return self

    # Refusals of a request
    BAD_OPTION = "BAD_OPTION", 400, False, "input"
    BAD_MULTIPART = "BAD_MULTIPART", 400, False, None
    BAD_REQUEST = "BAD_REQUEST", 400, False, None
    NO_FILE = "NO_FILE", 400, False, None
    EMPTY_FILE = "EMPTY_FILE", 400, False, "input"
    UNAUTHORIZED = "UNAUTHORIZED", 401, False, None
    FORBIDDEN = "FORBIDDEN", 403, False, None
    URL_REFUSED = "URL_REFUSED", 403, False, "delivery"
    NOT_FOUND = "NOT_FOUND", 404, False, None
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED", 405, False, None
    IDLE_TIMEOUT = "IDLE_TIMEOUT", 408, True, None
    CONFLICT = "CONFLICT", 409, False, None
    GONE = "GONE", 410, False, None
    LOCKED = "LOCKED", 423, True, None
    CHECKSUM_MISMATCH = "CHECKSUM_MISMATCH", 460, True, None
    UNKNOWN_VERSION = "UNKNOWN_VERSION", 412, False, None
    PRECONDITION_FAILED = "PRECONDITION_FAILED", 412, False, None
    PRECONDITION_REQUIRED = "PRECONDITION_REQUIRED", 428, False, None
    LENGTH_REQUIRED = "LENGTH_REQUIRED", 411, False, None
    FILE_TOO_LARGE = "FILE_TOO_LARGE", 413, False, "input"
    UNSUPPORTED_MEDIA = "UNSUPPORTED_MEDIA", 415, False, None
    RANGE_NOT_SATISFIABLE = "RANGE_NOT_SATISFIABLE", 416, False, None
    QUEUE_FULL = "QUEUE_FULL", 429, True, None
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED", 429, True, None
    RATE_LIMITED = "RATE_LIMITED", 429, True, None
    DRAINING = "DRAINING", 503, True, None
    NOT_READY = "NOT_READY", 503, True, None
    INTERNAL = "INTERNAL", 500, True, None
    # Failures of a job (those with a status are refusals too)
    DISK_FULL = "DISK_FULL", 507, True, "disk_full"
    NO_AUDIO = "NO_AUDIO", None, False, "input"
    CORRUPT_AUDIO = "CORRUPT_AUDIO", None, False, "input"
    AUDIO_TOO_LONG = "AUDIO_TOO_LONG", None, False, "input"
    MODEL_UNAVAILABLE = "MODEL_UNAVAILABLE", None, False, "internal"
    OUT_OF_MEMORY = "OUT_OF_MEMORY", None, True, "gpu_oom"
    GPU_ERROR = "GPU_ERROR", None, True, "gpu_error"
    WORKER_CRASHED = "WORKER_CRASHED", None, True, "worker_crash"
    TIMEOUT = "TIMEOUT", None, True, "timeout"
    DOWNLOAD_FAILED = "DOWNLOAD_FAILED", None, True, "delivery"
    DELIVERY_FAILED = "DELIVERY_FAILED", None, True, "delivery"
    CANCELED = "CANCELED", None, False, "canceled"
    PROCESSING_ERROR = "PROCESSING_ERROR", None, False, "internal"


FAILURE_REASONS = {code: code.reason for code in ErrorCode if code.reason is not None}
"""A job's failure code -> the `reason` label of btworker_jobs_total."""


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """An error as a record: what crosses process boundaries and is stored with a job."""

    code: ErrorCode
    message: str

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed later."""
        return self.code.retryable


class BtworkerError(Exception):
    """An error that is meant for the user: raise it anywhere, an edge turns it into an answer or a job's failure."""

    def __init__(
        self, code: ErrorCode, message: str, *, param: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        """When to try again; None: as its status has it."""

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
