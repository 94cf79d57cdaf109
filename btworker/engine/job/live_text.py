"""The text of an input that is transcribed in takes, as live events read it: the segments of all takes in the order in
which they end, in the file that has the windows of other inputs. Runs in the child.

A segment is emitted once every take has come as far: what follows then ends later.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from btworker.engine.asr.journal import Entry, Journal
from btworker.engine.job.takes import Take
from btworker.transcript import Segment


class LiveText:
    """The file of one input."""

    def __init__(self, path: Path, takes: Sequence[Take]) -> None:
        """Go on with the file of an earlier attempt: its subscribers get nothing twice."""
        self._path = path
        self._reached = {take.number: take.stretch.start_s for take in takes}
        self._held: list[Segment] = []
        self._emitted_s = self._resume()
        self.windows = 0
        """Number of windows that are done."""

    def add(self, take: Take, entry: Entry) -> None:
        """Take in one more window of a take."""
        self.windows += 1
        self._held += [take.moved(one) for one in entry.segments]
        self._reached[take.number] = take.stretch.start_s + entry.end
        self._emit()

    def finish(self, take: Take) -> None:
        """Wait no longer for a take."""
        self._reached[take.number] = math.inf
        self._emit()

    def _emit(self) -> None:
        low_s = min(self._reached.values())
        ready = sorted((one for one in self._held if self._emitted_s < one.end <= low_s), key=lambda one: one.end)
        self._held = [one for one in self._held if one.end > low_s]
        if ready:
            self._emitted_s = ready[-1].end
            line = json.dumps({"segments": [one.to_dict() for one in ready]}, ensure_ascii=False)
            with self._path.open("ab") as file:
                file.write(line.encode("utf-8", "replace") + b"\n")

    def _resume(self) -> float:
        """Find up to where an earlier attempt emitted, and cut off a torn line behind that."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        emitted_s, good_bytes = -1.0, 0
        with self._path.open("a+b") as file:
            file.seek(0)
            for line in file:
                try:
                    emitted_s = max(emitted_s, *(float(one["end"]) for one in json.loads(line)["segments"]))
                except (ValueError, KeyError, TypeError):
                    break
                good_bytes += len(line)
            file.truncate(good_bytes)
        return emitted_s


class TakeJournal(Journal):
    """The journal of a take, whose windows are emitted as they are done."""

    def __init__(self, path: Path, *, run: str, take: Take, live: LiveText) -> None:
        super().__init__(path, run=run)
        self._take = take
        self._live = live

    def resume(self) -> list[Entry]:
        """See Journal."""
        entries = super().resume()
        for entry in entries:
            self._live.add(self._take, entry)
        return entries

    def append(self, entry: Entry) -> None:
        """See Journal."""
        super().append(entry)
        self._live.add(self._take, entry)
