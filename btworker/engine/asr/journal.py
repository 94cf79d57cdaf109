"""Finished windows on disk, one JSON object a line, so that a second attempt goes on where the first one died.

    {"index": 0, "run": "…", "language": "en", "peak": 1.5, "start": 0.0, "end": 28.4, "segments": […], "state": {…}, …}

`run` names everything that the text depends on: lines of another model, another input or other options are dropped.
The child writes; the parent may read whole lines at any time, for live events. A line outlives the process as soon as
it is written, and a power cut once it is synced, with those before it: that takes a disk milliseconds, which is what
a GPU needs for a window.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from btworker.transcript import Segment

SYNC_WINDOWS = 16
"""Windows after which they are synced: at most so many are decoded again after a power cut."""
SYNC_S = 2.0
"""Seconds after which a window is synced at once: on a CPU each is seconds of work."""


@dataclass(frozen=True, slots=True)
class LoopState:
    """Where a recording's transcription stands between two windows: all that the next one needs to know."""

    seek: int = 0
    """Frame at which the next window begins."""
    prompt: tuple[int, ...] = ()
    """Tokens put before the next window: the last ones of the text since the prompt was last dropped."""
    last_speech_s: float = 0.0
    """End of the last word, for the word times of the next window."""
    segment_count: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Make a shape for JSON."""
        return {
            "seek": self.seek,
            "prompt": list(self.prompt),
            "lastSpeech": self.last_speech_s,
            "segmentCount": self.segment_count,
        }

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> "LoopState":
        """Invert to_dict."""
        return cls(raw["seek"], tuple(raw["prompt"]), raw["lastSpeech"], raw["segmentCount"])


@dataclass(frozen=True, slots=True)
class Entry:
    """One finished window. Times are seconds of audio."""

    index: int
    language: str
    peak: float | None
    """The recording's loudest point (see mel.py), found once; None in fast mode, which has no use for it."""
    start: float
    end: float
    segments: tuple[Segment, ...]
    state: LoopState
    """What the next window starts from."""
    missing: tuple[tuple[float, float], ...] = ()
    """Where somebody speaks in it and no text came out: (start, end) in seconds."""


class Journal:
    """The file of one input's finished windows."""

    def __init__(self, path: Path, *, run: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self.run = run
        """Name of all that the text depends on."""
        self._clock = clock
        self._synced_at_s = float("-inf")
        self._unsynced = 0
        """Windows since."""

    def resume(self) -> list[Entry]:
        """Read the windows of earlier attempts at this very run, in order, and cut off the file what comes after them.

        The last line may be torn: the process that wrote it was killed.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        entries: list[Entry] = []
        with self._path.open("a+b") as file:
            file.seek(0)
            good_bytes = 0
            for line in file:
                entry = self._read(line, index=len(entries))
                if entry is None:
                    break
                entries.append(entry)
                good_bytes += len(line)
            file.truncate(good_bytes)
        return entries

    def append(self, entry: Entry) -> None:
        """Write one window; durably, with those before it, where it is the last of a batch or none was of late."""
        self._unsynced += 1
        with self._path.open("ab") as file:
            file.write(json.dumps(self._shape(entry), ensure_ascii=False).encode() + b"\n")
            if self._unsynced >= SYNC_WINDOWS or self._clock() - self._synced_at_s >= SYNC_S:
                file.flush()
                os.fsync(file.fileno())
                self._synced_at_s, self._unsynced = self._clock(), 0

    def _shape(self, entry: Entry) -> dict[str, Any]:
        return {
            "index": entry.index,
            "run": self.run,
            "language": entry.language,
            "peak": entry.peak,
            "start": entry.start,
            "end": entry.end,
            "segments": [segment.to_dict() for segment in entry.segments],
            "state": entry.state.to_dict(),
            "missing": entry.missing,
        }

    def _read(self, line: bytes, *, index: int) -> Entry | None:
        """Read a line; None for a torn one, or one of another run."""
        try:
            raw = json.loads(line)
            if not line.endswith(b"\n") or raw["run"] != self.run or raw["index"] != index:
                return None
            segments = tuple(Segment.from_dict(segment) for segment in raw["segments"])
            state = LoopState.from_dict(raw["state"])
            missing = tuple((start, end) for start, end in raw["missing"])
            return Entry(index, raw["language"], raw["peak"], raw["start"], raw["end"], segments, state, missing)
        except (ValueError, KeyError, TypeError):
            return None
