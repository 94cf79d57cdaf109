"""Where unfinished uploads are on the server, kept from one run of a program to the next: one small file for each.

Only what a file was: after a change of it, or of the options, nothing is found, and it is sent from its beginning.
"""

import hashlib
import json
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from btworker.client.upload import Wanted

KEPT_S = 7 * 86_400
"""Servers forget unfinished uploads earlier."""


class Note:
    """The place of one file's upload. A folder that cannot be used costs nothing but the memory."""

    def __init__(self, folder: Path, base_url: str, file: Path, wanted: Wanted) -> None:
        files = (file, *wanted.voices)
        facts = [base_url, *(fact for one in files for fact in _facts(one)), dict(wanted.options)]
        self._path = folder / hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]

    def read(self) -> str | None:
        """The path of the upload on the server."""
        try:
            return self._path.read_text("ascii") or None
        except (OSError, ValueError):
            return None

    def write(self, place: str) -> None:
        """Remember it, and forget what is old."""
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            for other in self._path.parent.iterdir():
                if other.stat().st_mtime < time.time() - KEPT_S:
                    other.unlink()
            self._path.write_text(place, "ascii")

    def drop(self) -> None:
        """The upload is a job now, or is not there any more."""
        with suppress(OSError):
            self._path.unlink()


def _facts(file: Path) -> list[Any]:
    status = file.stat()
    return [str(file.resolve()), status.st_size, status.st_mtime_ns]
