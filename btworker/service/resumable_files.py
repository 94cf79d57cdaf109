"""Resumable uploads on the disk: each a folder with its record and its bytes. Blocking; file executor only.

    <data>/uploads/<id>/info.json   length, metadata, times, the job that it became
                        data        the bytes; how many there are is how far the upload is
                        unverified  there while bytes arrive whose checksum is not known: where they begin

Every byte in `data` is one that came. After a crash the file's size is the offset, but for unverified bytes.
"""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from btworker.checkpoints import file_sha256
from btworker.durable import sync_folder, write_durably
from btworker.keys import OPERATOR

UPLOAD_ID = re.compile(r"up_[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Resumable:
    """An upload as it is on the disk. Times are seconds since the epoch."""

    id: str
    length: int | None
    """None until the client knows it."""
    metadata: str
    """As it was sent."""
    touched_at: float
    job_id: str | None = None
    gone: bool = False
    """Expired or deleted: only this record is left, to say so."""
    owner: str = OPERATOR
    """Id of the key that began it."""
    needs: tuple[str, ...] = ()
    """Ids of uploads that its job takes along: kept as long as this one is."""


_RECORD = TypeAdapter(Resumable)


class ResumableFiles:
    """The folders of all uploads, below `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def data(self, upload_id: str) -> Path:
        """Its bytes."""
        return self._root / upload_id / "data"

    def make(self, record: Resumable) -> None:
        """Begin an upload, durably."""
        folder = self._root / record.id
        folder.mkdir(parents=True, mode=0o750)
        self.data(record.id).touch(mode=0o640)
        self.write(record)
        sync_folder(folder)
        sync_folder(self._root)

    def write(self, record: Resumable) -> None:
        """Keep what is known of an upload."""
        path = self._root / record.id / "info.json"
        part = path.with_suffix(".part")
        write_durably(part, _RECORD.dump_json(record))
        os.replace(part, path)

    def distrust(self, upload_id: str, offset: int) -> None:
        """What comes from here on counts only once `settle` was called, also after a power cut."""
        mark = self._unverified(upload_id)
        write_durably(mark, str(offset).encode())
        sync_folder(mark.parent)

    def settle(self, upload_id: str, back_to: int | None) -> int:
        """The size of the bytes, once they are cut where they have to be; all of them count."""
        path = self.data(upload_id)
        if back_to is not None:
            os.truncate(path, back_to)
        self._unverified(upload_id).unlink(missing_ok=True)
        return path.stat().st_size

    def scan(self) -> list[tuple[Resumable, int]]:
        """All uploads that are there, each with its offset; what a crash left half made is removed."""
        found = []
        for folder in sorted(self._root.glob("up_*")):
            try:
                record = _RECORD.validate_json((folder / "info.json").read_bytes())
                found.append((record, 0 if record.gone or record.job_id else self._found(record.id)))
            except (OSError, ValueError):  # a crash while it was made: no client knows of it
                shutil.rmtree(folder, ignore_errors=True)
        return found

    def sha256(self, upload_id: str) -> str:
        """Of its bytes, in hex."""
        return file_sha256(self.data(upload_id))

    def lend(self, upload_id: str, target: Path) -> None:
        """Give its bytes a second name: not one is copied, where the file system can."""
        try:
            os.link(self.data(upload_id), target)
        except PermissionError:  # some file systems know one name for a file only
            shutil.copyfile(self.data(upload_id), target)
            with target.open("rb") as file:
                os.fsync(file.fileno())

    def drop(self, upload_id: str) -> None:
        """Delete its bytes; its record stays."""
        self.data(upload_id).unlink(missing_ok=True)

    def remove(self, upload_id: str) -> None:
        """Delete all of it."""
        shutil.rmtree(self._root / upload_id, ignore_errors=True)

    def _unverified(self, upload_id: str) -> Path:
        return self._root / upload_id / "unverified"

    def _found(self, upload_id: str) -> int:
        mark = self._unverified(upload_id)
        return self.settle(upload_id, int(mark.read_text()) if mark.exists() else None)
