"""Which recordings of a watched folder are whole: nobody writes them any more, and they stay as they are.

A rename into the folder is whole at once; a file that is written there once it is closed and has not changed for a
moment. Looks are cheap; inotify says when one is due, and where there is none, the clock does.
"""

import asyncio
import fcntl
import os
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from btworker.cli.recordings import folders, recordings

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
        """That of a file as it is now; None where there is none, or a link: who put it there may not be allowed to read
        what it leads to."""
        try:
            status = path.lstat()
        except OSError:
            return None
        return cls(status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None


class Arrivals:
    """The recordings below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[Path, tuple[Version, float]] = {}
        """As each was at the last look, and since when (monotonic seconds)."""
        self._whole: dict[Path, Version] = {}
        """What the last look gave."""
        self.are_pending = False
        """Some may be whole in a moment."""
        self.links: frozenset[Path] = frozenset()
        """What would be recordings, and are left alone."""

    def look(self) -> dict[Path, Version]:
        """Blocking: all that are whole, by name."""
        now, seen, whole = time.monotonic(), {}, {}
        links: set[Path] = set()
        self.are_pending = False
        for path in recordings(self._folder):
            version = Version.of(path)
            if version is None and path.is_symlink():
                links.add(path)
            if version is None or not version.size_bytes:
                continue
            before, since = self._seen.get(path, (None, 0.0))
            seen[path] = version, since if before == version else now
            if self._whole.get(path) == version or self._is_whole(path, version, now - seen[path][1]):
                whole[path] = version
            else:
                self.are_pending = True
        self._seen, self._whole, self.links = seen, whole, frozenset(links)
        return whole

    def _is_whole(self, path: Path, version: Version, unchanged_s: float) -> bool:
        written = is_written(path)
        if written is None:
            return unchanged_s >= SETTLE_UNKNOWN_S
        old_s = time.time() - version.modified_ns / 1e9
        return not written and max(unchanged_s, old_s) >= SETTLE_S


def is_written(path: Path) -> bool | None:
    """Whether a program has a file open for writing; None where that is not known.

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
        self.trouble = ""
        """Why the clock alone rings."""
        try:
            from asyncinotify import Inotify

            self._inotify = Inotify(sync_timeout=0)
        except (ImportError, OSError, AttributeError) as error:
            self._give_up(error)

    def watch(self) -> None:
        """Blocking: ring for every folder that is there by now, and for none that was: the kernel knows a folder, and
        not its name, which may be another's by now."""
        if self._inotify is None:
            return
        try:
            kept = {watch for folder, _ in folders(self._folder) if (watch := self._added(folder)) is not None}
        except OSError as error:
            self._give_up(error)
            return
        for watch in self._inotify.watches:
            if watch not in kept:
                with suppress(OSError):  # its folder is gone
                    self._inotify.rm_watch(watch)

    def _added(self, folder: Path) -> Any:
        """The watch of a folder, also where there is one; None where the folder has just gone, or is closed to us."""
        from asyncinotify import Mask

        mask = Mask.CLOSE_WRITE | Mask.MOVED_TO | Mask.CREATE | Mask.MOVE_SELF | Mask.DELETE_SELF | Mask.ONLYDIR
        try:
            return self._inotify.add_watch(folder, mask)
        except (FileNotFoundError, NotADirectoryError, PermissionError):
            return None

    async def wait(self, most_s: float, beside: "asyncio.Future[Any]") -> None:
        """Until it rings, the clock does, or `beside` is done. Everything that rang until then has rung."""
        limit_s = min(most_s, POLL_S if self._inotify is None else SLOW_POLL_S)
        if self._inotify is None:
            await asyncio.wait({beside}, timeout=limit_s)
            return
        ringing = asyncio.ensure_future(self._inotify.get())
        try:  # wait_for of Python 3.11 may lose a SIGTERM
            await asyncio.wait({ringing, beside}, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ringing.cancel()
        if ringing.done():
            self._empty(ringing)

    def _empty(self, ringing: "asyncio.Future[Any]") -> None:
        """Take what else has arrived: thousands of files are one look, and not a look each."""
        try:
            ringing.result()
            while self._inotify.sync_get() is not None:
                pass
        except OSError as error:
            self._give_up(error)

    def close(self) -> None:
        """Give inotify back."""
        if self._inotify is not None:
            self._inotify.close()

    def _give_up(self, error: BaseException) -> None:
        self.close()
        self._inotify = None
        self.trouble = str(getattr(error, "strerror", None) or error)
