"""Which files of a job's folder a box may read and write, by name. Pure; used on both sides.

    in/<n>  in/voice.<n>[.json]        down: inputs, and voices of known speakers
    windows/<n>[.<take>].jsonl  .done  both ways: finished windows, so that another box goes on from the last one
    diarizing                          both ways: a note of who is telling speakers apart (engine/job/speaker_stage.py)
    renditions/<n>.m4a  .peaks         up: what players get
    out/<name>  voice.json             up: results; those in out/ are seen once all of them are there
    shares/<n>/<k>.s16                 sound of a part of a long recording: up, and down to a box that helps
    shares/<n>/<k>.texts               its texts, the other way (btworker/shared_windows.py)

A name that is none of these is no file.
"""

import re
from pathlib import Path

from btworker.job_folder import JobFolder
from btworker.voices import ENROLLED

TICKET, OFFSET, SHA256, STORED = "Fleet-Ticket", "Upload-Offset", "Content-SHA256", "Fleet-Stored"
"""Headers by which they are moved; with the last one the body is in the fleet's store."""
LEAST_STORED_BYTES = 2**16
"""Of what goes through the fleet's store: what is smaller is there sooner than an address for it."""
MOST_STORED_BYTES = 5 * 2**30
"""What S3 takes in one piece."""
DIARIZING = "diarizing"
_WINDOWS = r"windows/\d{1,6}(\.\d{1,6})?\.(jsonl|done)"
_INPUT = re.compile(r"in/\d{1,6}|in/voice\.\d{1,6}(\.json)?")
_JOURNAL = re.compile(r"windows/\d{1,6}(\.\d{1,6})?\.jsonl")
_STATE = re.compile(rf"{_WINDOWS}|{DIARIZING}")
_PLAYED = re.compile(rf"renditions/\d{{1,6}}\.(m4a|peaks)|{re.escape(ENROLLED)}")
_SHARED = r"shares/\d{1,6}(\.\d{1,6})?/\d{1,6}"
_LENT = re.compile(rf"{_SHARED}\.s16")
_DECODED = re.compile(rf"{_SHARED}\.texts")
_TRANSCRIPT = re.compile(r"\.transcript\.\d{1,6}\.json")
_RESULTS = "out/"
MOST_NAME_BYTES = 255


class NotYetError(Exception):
    """The front end is at it, and is to be asked again: status 202 between the two."""


def is_journal(name: str) -> bool:
    """Whether it is a file of finished windows, which grows."""
    return _JOURNAL.fullmatch(name) is not None


def is_note(name: str) -> bool:
    """Whether it is only there for a while, and its box takes it away."""
    return name == DIARIZING or (name.endswith(".done") and _STATE.fullmatch(name) is not None)


def is_readable(name: str) -> bool:
    """Whether a box that begins an attempt needs it."""
    return is_input(name) or _STATE.fullmatch(name) is not None


def is_input(name: str) -> bool:
    """Whether it came with the job, and never changes."""
    return _INPUT.fullmatch(name) is not None


def is_writable(name: str) -> bool:
    """Whether a box may replace it."""
    return any(pattern.fullmatch(name) for pattern in (_STATE, _PLAYED, _LENT)) or is_result(name)


def is_lent(name: str) -> bool:
    """Whether a box reads it that helps with a long recording."""
    return _LENT.fullmatch(name) is not None


def is_decoded(name: str) -> bool:
    """Whether such a box made it, for the one that has the recording."""
    return _DECODED.fullmatch(name) is not None


def is_result(name: str) -> bool:
    """Whether it is one of the files that are published together."""
    bare = name.removeprefix(_RESULTS)
    if (
        bare == name
        or not bare
        or "/" in bare
        or "\0" in bare
        or len(bare.encode("utf-8", "replace")) > MOST_NAME_BYTES
    ):
        return False
    return not bare.startswith(".") or _TRANSCRIPT.fullmatch(bare) is not None


def path_in(folder: JobFolder, name: str) -> Path:
    """Where a file is written to: results wait in their folder for each other."""
    return folder.unfinished_outputs / name.removeprefix(_RESULTS) if is_result(name) else folder.path / name


def readable(folder: JobFolder) -> list[tuple[str, int]]:
    """Name and size in bytes of each file that a box needs to begin an attempt. Blocking."""
    found = [*_names(folder, "in"), *_names(folder, "windows"), *([DIARIZING] if folder.diarizing.exists() else [])]
    return [(name, (folder.path / name).stat().st_size) for name in found if is_readable(name)]


def state(folder: JobFolder) -> list[str]:
    """Names of the files from which the next attempt goes on. Blocking."""
    return [*_names(folder, "windows"), *([DIARIZING] if folder.diarizing.exists() else [])]


def results(folder: JobFolder) -> list[str]:
    """Names of all that an attempt that is finished has made beside its windows. Blocking."""
    enrolled = [ENROLLED] if (folder.path / ENROLLED).exists() else []
    return [name for name in (*_names(folder, "out"), *enrolled) if is_writable(name)]


def _names(folder: JobFolder, part: str) -> list[str]:
    place = folder.path / part
    return sorted(f"{part}/{path.name}" for path in place.iterdir()) if place.is_dir() else []
