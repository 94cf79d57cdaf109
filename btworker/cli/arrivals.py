"""Which recordings of a watched folder are whole: nobody writes them any more, and they stay as they are.

A rename into the folder is whole at once; a file that is written there once it is closed and has not changed for a
moment. Looks are cheap; inotify says when one is due, and where there is none, the clock does.
"""

import asyncio
import fcntl
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from btworker.cli.recordings import recordings

SETTLE_S = 2.0
"""Seconds without a change after which a file that nobody writes is whole: some programs close, and write on."""
SETTLE_UNKNOWN_S = 30.0
"""The same where nobody can say who writes: folders of another machine, or of another user."""
POLL_S = 5.0
"""Seconds between two looks without inotify."""
SLOW_POLL_S = 60.0
"""The same with it: what it may have missed is found."""


@dataclass(frozen=True, slots=True)
class Version:
    """By what a file is known to have changed."""

    size_bytes: int
    modified_ns: int

    @classmethod
    def of(cls, path: Path) -> "Version | None":
        """That of a file as it is now; None where there is none."""
        try:
            status = path.stat()
        except OSError:
            return None
        return cls(status.st_size, status.st_mtime_ns)


class Arrivals:
    """The recordings below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[Path, tuple[Version, float]] = {}
        """As each was at the last look, and since when (monotonic seconds)."""
        self.are_pending = False
        """Some may be whole in a moment."""

    def look(self) -> dict[Path, Version]:
        """Blocking: all that are whole, by name."""
        now, seen, whole = time.monotonic(), {}, {}
        self.are_pending = False
        for path in recordings(self._folder):
            version = Version.of(path)
            if version is None or not version.size_bytes:
                continue
            before, since = self._seen.get(path, (None, 0.0))
            seen[path] = version, since if before == version else now
            if self._is_whole(path, version, now - seen[path][1]):
                whole[path] = version
            else:
                self.are_pending = True
        self._seen = seen
        return whole

    def _is_whole(self, path: Path, version: Version, unchanged_s: float) -> bool:
        written = is_written(path)
        if written is None:
            return unchanged_s >= SETTLE_UNKNOWN_S
        old_s = time.time() - version.modified_ns / 1e9
        return not written and max(unchanged_s, old_s) >= SETTLE_S


def is_written(path: Path) -> bool | None:
    """Whether a program has a file open for writing; None where that cannot be told.

    A lease, for the moment of asking, is given only where none has: SIGIO, which is sent when one then does, has to be
    ignored."""
    if not hasattr(fcntl, "F_SETLEASE"):
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return False


class Bell:
    """Rings when something changed in a folder or below it; made inside the event loop."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._inotify: Any = None
        self._watched: dict[str, Any] = {}
        self.trouble = ""
        """Why the clock alone rings."""
        try:
            from asyncinotify import Inotify

            self._inotify = Inotify()
        except (ImportError, OSError, AttributeError) as error:
            self._give_up(error)

    def watch(self) -> None:
        """Blocking: ring for every folder that is there by now."""
        if self._inotify is None:
            return
        from asyncinotify import Mask

        mask = Mask.CLOSE_WRITE | Mask.MOVED_TO | Mask.CREATE | Mask.ONLYDIR
        try:
            folders = {folder for folder, _, _ in os.walk(self._folder)}
            self._watched = {folder: watch for folder, watch in self._watched.items() if folder in folders}
            for folder in folders - self._watched.keys():
                self._watched[folder] = self._inotify.add_watch(folder, mask)
        except OSError as error:
            self._give_up(error)

    async def wait(self, most_s: float | None = None) -> None:
        """Until it rings, or the clock does."""
        limit_s = min(most_s or SLOW_POLL_S, POLL_S if self._inotify is None else SLOW_POLL_S)
        if self._inotify is None:
            await asyncio.sleep(limit_s)
            return
        ringing = asyncio.ensure_future(self._inotify.get())
        try:
            await asyncio.wait({ringing}, timeout=limit_s)  # wait_for of Python 3.11 may lose a SIGTERM
        finally:
            ringing.cancel()
        if ringing.done() and (error := ringing.exception()) is not None:
            self._give_up(error)

    def close(self) -> None:
        """Give inotify back."""
        if self._inotify is not None:
            self._inotify.close()

    def _give_up(self, error: BaseException) -> None:
        self.close()
        self._inotify = None
        self.trouble = str(getattr(error, "strerror", None) or error)
