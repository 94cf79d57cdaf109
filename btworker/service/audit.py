"""The audit log: who did what to which job, a JSON line each, in files of their own that only grow. Parent.

    <data>/audit/audit.jsonl            the newest lines
                 audit.<time>.jsonl     full ones, of which the oldest go (WORKER_AUDIT_FILES)

Lines are made of names of keys, names of routes, ids and codes: never of a file's name, a text or a token. They are
written in order by a thread, so that a slow disk delays nobody; what a full disk does not take is counted in the log.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

from btworker.config import MIB
from btworker.logs import get_logger

log = get_logger()
NAME = "audit.jsonl"
MOST_WAITING = 10_000
"""Lines that may wait for the disk."""
WARNING_INTERVAL_S = 60.0


class AuditLog:
    """Appends lines; `most_mb` = 0: none. `clock` gives seconds since the epoch."""

    def __init__(self, folder: Path, *, most_mb: float, files: int, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._most_bytes = most_mb * MIB
        self._files = files
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="audit")
        self._waiting = 0
        self._lost = 0
        self._warned_at = float("-inf")

    def note(self, do: str, *, key: str, key_id: str, outcome: int | str, about: Mapping[str, str]) -> None:
        """Append a line; returns before it is written. `about`: ids of what it was done to, and of the request."""
        if not self._most_bytes:
            return
        if self._waiting >= MOST_WAITING:
            self._lost += 1
            self._warn("the disk is too slow")
            return
        moment = datetime.fromtimestamp(self._clock(), timezone.utc).isoformat(timespec="milliseconds")
        line = {"at": moment.replace("+00:00", "Z"), "key": key, "keyId": key_id, "do": do, "outcome": outcome, **about}
        self._waiting += 1
        self._thread.submit(self._append, json.dumps(line).encode() + b"\n")

    def close(self) -> None:
        """Write what waits."""
        self._thread.shutdown()

    def _append(self, line: bytes) -> None:
        try:
            self._folder.mkdir(exist_ok=True, mode=0o750)
            file = os.open(self._folder / NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
            try:
                size_bytes = os.fstat(file).st_size
                if os.write(file, line) < len(line):
                    os.ftruncate(file, size_bytes)  # half a line: the disk is full
                    raise OSError("no room for a line")
            finally:
                os.close(file)
            if size_bytes + len(line) >= self._most_bytes:
                self._rotate()
        except OSError as error:
            self._lost += 1
            self._warn(str(error))
        finally:
            self._waiting -= 1

    def _rotate(self) -> None:
        moment = datetime.fromtimestamp(self._clock(), timezone.utc).strftime("%Y-%m-%dT%H-%M-%S.%fZ")
        os.rename(self._folder / NAME, self._folder / f"audit.{moment}.jsonl")
        full = sorted(self._folder.glob("audit.*.jsonl"))
        for path in full[: max(len(full) - self._files + 1, 0)]:
            path.unlink(missing_ok=True)

    def _warn(self, why: str) -> None:
        now = time.monotonic()
        if now - self._warned_at >= WARNING_INTERVAL_S:
            self._warned_at = now
            log.warning("audit_lost", lines=self._lost, message=f"lines of the audit log were lost: {why}")
