"""Which recordings a command line names, and where the results of each go. Looks at names, opens nothing."""

import mimetypes
import os
from pathlib import Path

from btworker.stems import unique_stems

MORE_MEDIA = (".opus", ".ogg", ".oga", ".m4a", ".mka", ".mkv", ".flac", ".amr", ".wma", ".webm", ".aac", ".caf")
"""Suffixes that not every system's table of types has."""


class NoRecordingError(Exception):
    """A path that names no recording: one sentence."""


def recordings(path: Path) -> list[Path]:
    """The file itself; of a folder, everything below it whose name says that it is sound or video, in order."""
    if not path.is_dir():
        return [path] if path.is_file() else []
    names = (Path(folder) / name for folder, _, names in os.walk(path) for name in names)
    return sorted(file for file in names if _is_media(file.name) and file.is_file())


def named_by(paths: list[Path]) -> list[Path]:
    """All that these paths name, in their order. Raises NoRecordingError for the first that names none."""
    found = {path: recordings(path) for path in paths}
    for path, files in found.items():
        if not files:
            raise NoRecordingError(f"{path.absolute()} {_why_none(path)}")
    return [file for path in paths for file in found[path]]


def _is_media(name: str) -> bool:
    kind = mimetypes.guess_type(name)[0] or ""
    return not name.startswith(".") and (kind.startswith(("audio/", "video/")) or name.lower().endswith(MORE_MEDIA))


def _why_none(path: Path) -> str:
    """What is wrong with a path that names none."""
    if path.is_dir():
        return "has no recordings in it"
    return "is no regular file" if path.exists() else "does not exist"


def with_folders(files: list[Path], output_dir: Path) -> list[tuple[Path, Path]]:
    """Each file with the folder of its results: a folder of its own for one whose results' names are taken."""
    stems = unique_stems([path.name for path in files])
    alone = [unique_stems([path.name])[0] for path in files]
    return [
        (path, output_dir if stem == first else output_dir / stem)
        for path, stem, first in zip(files, stems, alone, strict=True)
    ]
