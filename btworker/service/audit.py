"""The audit log: who did what to which job, a JSON line each, in files of their own that only grow. Parent.

    <data>/audit/audit.jsonl            the newest lines
                 audit.<time>.jsonl     full ones, of which the oldest go (WORKER_AUDIT_FILES)

Lines are made of names of keys, names of routes, ids and codes: never of a file's name, a text or a token. They are
written in order by a thread, those that wait together at once, so that a slow disk delays nobody; what a full disk does
not take is counted in the log.
"""

import json
import os
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from itertools import accumulate
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
        self._lock = threading.Lock()
        self._waiting: list[bytes] = []
        self._lost = 0
        self._warned_at = float("-inf")

    def note(self, do: str, *, key: str, key_id: str, outcome: int | str, about: Mapping[str, str]) -> None:
        """Append a line; returns before it is written. `about`: ids of what it was done to, and of the request."""
        if not self._most_bytes:
            return
        if len(self._waiting) >= MOST_WAITING:
            self._lost += 1
            self._warn("the disk is too slow")
            return
        moment = datetime.fromtimestamp(self._clock(), timezone.utc).isoformat(timespec="milliseconds")
        line = {"at": moment.replace("+00:00", "Z"), "key": key, "keyId": key_id, "do": do, "outcome": outcome, **about}
        with self._lock:
            self._waiting.append(json.dumps(line).encode() + b"\n")
            if len(self._waiting) == 1:
                self._thread.submit(self._write)

    def close(self) -> None:
        """Write what waits."""
        self._thread.shutdown()

    def _write(self) -> None:
        with self._lock:
            lines, self._waiting = self._waiting, []
        try:
            while lines:
                lines = lines[self._append(lines) :]
        except OSError as error:
            self._lost += len(lines)
            self._warn(str(error))

    def _append(self, lines: list[bytes]) -> int:
        """Write lines up to where the file is full, all at once; how many. Raises OSError, and writes none then."""
        self._folder.mkdir(exist_ok=True, mode=0o750)
        file = os.open(self._folder / NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        try:
            size_bytes = os.fstat(file).st_size
            ends_bytes = list(accumulate(map(len, lines), initial=size_bytes))
            count = max(bisect_left(ends_bytes, self._most_bytes, hi=len(lines)), 1)
            taken = b"".join(lines[:count])
            if os.write(file, taken) < len(taken):
                os.ftruncate(file, size_bytes)  # half a line: the disk is full
                raise OSError("no room for a line")
        finally:
            os.close(file)
        if ends_bytes[count] >= self._most_bytes:
            self._rotate()
        return count

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
