"""Which recordings a command line names, and where the results of each go. Looks at names, opens nothing."""

import argparse
import mimetypes
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from btworker.locations import BUCKET_NAME, STORE_NAME, is_key, is_prefix, parse_address
from btworker.stems import unique_stems

MORE_MEDIA = (".opus", ".ogg", ".oga", ".m4a", ".mka", ".mkv", ".flac", ".amr", ".wma", ".webm", ".aac", ".caf")
"""Suffixes that not every system's table of types has."""
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Remote:
    """A recording that the worker fetches."""

    address: str

    @property
    def name(self) -> str:
        """What its file is called, without what may be secret in the address."""
        place = parse_address(self.address)
        path = unquote(urlsplit(self.address).path) if place is None else place[2]
        return path.rstrip("/").rpartition("/")[2] or "audio"

    @property
    def wire(self) -> dict[str, Any]:
        """The input, as the API takes it."""
        if (place := parse_address(self.address)) is None:
            return {"url": self.address}
        return {"s3": dict(zip(("store", "bucket", "key"), place, strict=True))}


Recording = Path | Remote


class NoRecordingError(Exception):
    """A path that names no recording: one sentence."""


def recording(text: str) -> Recording:
    """What an argument names: an address, or a path. Raises ArgumentTypeError."""
    found = _ADDRESS.match(text)
    if found is None:
        return Path(text)
    if (scheme := found[1].lower()) not in ("http", "https", "s3"):
        raise argparse.ArgumentTypeError(
            f"{scheme}:// is not fetched; an address begins with https://, http:// or s3://"
        )
    if (place := parse_address(text)) is not None and not (_is_bucket(*place[:2]) and is_key(place[2])):
        raise argparse.ArgumentTypeError("must be s3://store/bucket/key")
    return Remote(text)


def bucket_folder(text: str) -> str:
    """The argument of --outputs-to. Raises ArgumentTypeError."""
    place = parse_address(text)
    if place is None or not (_is_bucket(*place[:2]) and is_prefix(place[2])):
        raise argparse.ArgumentTypeError(
            "must be s3://store/bucket/folder, of a store that the worker's operator named"
        )
    return text


def _is_bucket(store: str, bucket: str) -> bool:
    return bool(STORE_NAME.fullmatch(store) and BUCKET_NAME.fullmatch(bucket))


def recordings(path: Path) -> list[Path]:
    """The file itself; of a folder, everything below it whose name says that it is sound or video, in order."""
    if not path.is_dir():
        return [path] if path.is_file() else []
    files = (folder / name for folder, names in folders(path) for name in names)
    return sorted(file for file in files if _is_media(file.name) and file.is_file())


def folders(path: Path) -> Iterator[tuple[Path, list[str]]]:
    """A folder and all below it, with the names of their files; but none that is hidden, where other programs keep what
    is not whole (rsync), or not any more what it was (Syncthing, desktops' bins)."""
    for folder, below, names in os.walk(path):
        below[:] = [name for name in below if not name.startswith(".")]
        yield Path(folder), names


def named_by(paths: Sequence[Path]) -> list[Path]:
    """All that these paths name, in their order. Raises NoRecordingError for the first that names none."""
    found = []
    for path in paths:
        if not (files := recordings(path)):
            raise NoRecordingError(f"{path.absolute()} {_why_none(path)}")
        found += files
    return found


def named_anywhere(given: Sequence[Recording]) -> list[Recording]:
    """The same, with addresses among them."""
    return [found for one in given for found in ([one] if isinstance(one, Remote) else named_by([one]))]


def _is_media(name: str) -> bool:
    kind = mimetypes.guess_type(name)[0] or ""
    return not name.startswith(".") and (kind.startswith(("audio/", "video/")) or name.lower().endswith(MORE_MEDIA))


def _why_none(path: Path) -> str:
    """What is wrong with a path that names none."""
    if path.is_dir():
        return "has no recordings in it"
    return "is no regular file" if path.exists() else "does not exist"


def with_folders(files: Sequence[Recording], output_dir: Path) -> list[tuple[Recording, Path]]:
    """Each file with the folder of its results: a folder of its own for one whose results' names are taken."""
    stems = unique_stems([path.name for path in files])
    alone = [unique_stems([path.name])[0] for path in files]
    return [
        (path, output_dir if stem == first else output_dir / stem)
        for path, stem, first in zip(files, stems, alone, strict=True)
    ]
