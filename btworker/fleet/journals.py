"""What of the files of finished windows the front end has already. Box; blocking, but small.

A journal grows by lines; when an input begins, what came of another run is cut off it (engine/asr/journal.py). So the
last bytes that were sent are remembered: where they are not in their place any more, the file is sent anew.
"""

from dataclasses import dataclass
from pathlib import Path

REMEMBERED_BYTES = 2**16
MOST_BYTES = 2**20
"""Sent at once."""


@dataclass(frozen=True, slots=True)
class _Sent:
    size_bytes: int
    tail: bytes


class Journals:
    """Those of one attempt, by name."""

    def __init__(self) -> None:
        self._sent: dict[str, _Sent] = {}

    def sent(self, name: str, path: Path) -> None:
        """Note that the front end has the file as it is now."""
        size_bytes = path.stat().st_size
        self._sent[name] = _Sent(size_bytes, read_piece(path, max(size_bytes - REMEMBERED_BYTES, 0), REMEMBERED_BYTES))

    def unsent(self, name: str, path: Path) -> tuple[int, bytes]:
        """Offset and bytes of the next piece to send, whole lines; no bytes: the front end has all of it."""
        sent = self._sent.get(name, _Sent(0, b""))
        start = sent.size_bytes - len(sent.tail)
        if read_piece(path, start, len(sent.tail)) != sent.tail:
            sent = _Sent(0, b"")
        piece = read_piece(path, sent.size_bytes, MOST_BYTES)
        whole = piece if len(piece) == MOST_BYTES else piece[: piece.rfind(b"\n") + 1]
        return sent.size_bytes, whole

    def took(self, name: str, offset: int, data: bytes) -> None:
        """Note that the front end has these bytes, and none behind them."""
        before = self._sent[name].tail if offset and name in self._sent else b""
        self._sent[name] = _Sent(offset + len(data), (before + data)[-REMEMBERED_BYTES:])

    def forget(self, name: str) -> None:
        """Send the file from its beginning."""
        self._sent.pop(name, None)


def read_piece(path: Path, offset: int, count: int) -> bytes:
    """Up to so many bytes of a file from an offset on. Blocking."""
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(count)
