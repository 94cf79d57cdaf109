"""What `btworker watch` knows of each recording, on disk beside the results, each step before the next.

    found --> uploaded (noted) --> job (noted) --> results saved, or failed (noted)

The job is made with a key of the recording and its version, so that a kill between two steps makes no second one.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from btworker.cli.arrivals import Version
from btworker.durable import publish, write_durably
from btworker.stems import unique_stems

NAME = ".btworker-watch"


class InUseError(Exception):
    """Another command watches with these notes."""


@dataclass(frozen=True, slots=True)
class Note:
    """One recording."""

    path: str
    """Below the folder."""
    size_bytes: int
    modified_ns: int
    results: str
    """Folder of its results, below the results' folder."""
    upload: str | None = None
    job: str | None = None
    done: bool = False
    failed: str | None = None
    """Why nothing came of it."""

    @property
    def version(self) -> Version:
        """Of the file that this is about."""
        return Version(self.size_bytes, self.modified_ns)

    @property
    def over(self) -> bool:
        """Nothing is left to do."""
        return self.done or self.failed is not None

    def key(self, options: Mapping[str, Any]) -> str:
        """The same for the same recording, version and options."""
        facts = [self.path, self.size_bytes, self.modified_ns, dict(options)]
        return f"watch-{hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()}"


class Notes:
    """The notes on one folder; locked from the start to `close`. Blocking."""

    def __init__(self, results: Path) -> None:
        """Raises OSError, InUseError."""
        self._folder = results / NAME
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock: IO[str] = open(self._folder / "lock", "w", encoding="ascii")  # noqa: SIM115 - held until close
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise InUseError from None
        self._known = {note.path: note for note in map(_read, self._folder.glob("*.json")) if note is not None}

    def close(self) -> None:
        """Give the lock back."""
        self._lock.close()

    def of(self, path: str, version: Version) -> Note:
        """What is known of a recording in this version; a new one, not yet on disk, where nothing is."""
        known = self._known.get(path)
        if known is not None and known.version == version:
            return known
        results = self._results_of(path) if known is None else known.results
        self._known[path] = note = Note(path, version.size_bytes, version.modified_ns, results)
        return note

    def keep(self, note: Note) -> None:
        """Durable when this returns."""
        self._known[note.path] = note
        self._folder.mkdir(exist_ok=True)
        final = self._folder / f"{hashlib.sha256(os.fsencode(note.path)).hexdigest()[:32]}.json"
        part = final.with_suffix(".part")
        write_durably(part, json.dumps(asdict(note)).encode())
        publish(part, final)

    def _results_of(self, path: str) -> str:
        """The recording's own folder; one below it where the names of another's results are the same."""
        here = Path(path)
        others = [Path(other).name for other in self._known if Path(other).parent == here.parent and other != path]
        taken = unique_stems([*others, here.name])[-1] != unique_stems([here.name])[0]
        return str(here.parent / f"{here.name}-results" if taken else here.parent)


def _read(path: Path) -> Note | None:
    """A note; None for what is none."""
    try:
        return Note(**json.loads(path.read_bytes()))
    except (ValueError, TypeError):
        return None
