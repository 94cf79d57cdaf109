"""What the fetcher asks of wherever a file lies: its bytes from a place on, and whether it is still the same file."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from btworker.errors import ErrorCode


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of a file on their way."""

    chunks: AsyncIterator[bytes]
    first_byte: int
    """Where in the file they begin."""
    total_bytes: int | None
    """Size of the whole file, as far as its server says."""
    validator: str | None
    """By what the file is known to be the same at the next try; None: it is begun anew."""


class Origin(Protocol):
    """One file that lies elsewhere."""

    @property
    def name(self) -> str:
        """Who has it, for sentences and log lines; nothing that may be secret."""

    def open(self, offset: int, validator: str | None) -> AbstractAsyncContextManager[Part]:
        """The file from `offset` on where it is the one that `validator` says, else from its beginning.

        Raises BrokenOffError, also where the bytes end too early, and BtworkerError where another try is no use.
        """


class BrokenOffError(Exception):
    """This try came to nothing, and another may not. With `anew`, what is here is of no use to it."""

    def __init__(self, reason: str, code: ErrorCode = ErrorCode.DOWNLOAD_FAILED, *, anew: bool = False) -> None:
        super().__init__(reason)
        self.code = code
        self.anew = anew
