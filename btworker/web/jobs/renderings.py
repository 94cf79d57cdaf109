"""Long transcripts in a format, rendered once: what was asked for before starts at once. As they look by default, they
were rendered at the job's end (outputs/ready.py). Parent.

    <job's folder>/rendered/<key>.<sha256 of the content>

The key is a hash of all that the content depends on: the transcript, how it is to look, the corrections' version and
the release. A copy costs nothing to lose, so a disk that does not take it is no failure.
"""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path

from btworker import __version__
from btworker.durable import write_durably
from btworker.outputs.ready import LARGE_BYTES

MOST_KEPT = 16
"""Renderings of one job: each way to break lines is another one."""


def kept(folder: Path, transcript: Path, look: Iterable[object], render: Callable[[], bytes]) -> Path | bytes:
    """Give the file with the content, or the content where it is not kept. Blocking.

    Raises FileNotFoundError without a transcript.
    """
    about = transcript.stat()
    if about.st_size < LARGE_BYTES:
        return render()
    facts = (__version__, transcript.name, about.st_size, about.st_mtime_ns, *look)
    key = hashlib.sha256(repr(facts).encode()).hexdigest()[:32]
    found = next(folder.glob(f"{key}.*"), None)
    if found is not None:
        with contextlib.suppress(OSError):
            os.utime(found)
        return found
    content = render()
    try:
        return _keep(folder, key, content)
    except OSError:
        return content


def sha256_of(path: Path) -> str:
    """The hash in a kept rendering's name."""
    return path.name.rpartition(".")[2]


def _keep(folder: Path, key: str, content: bytes) -> Path:
    folder.mkdir(mode=0o750, exist_ok=True)
    part = folder / f"part.{secrets.token_hex(8)}"
    try:
        path = folder / f"{key}.{write_durably(part, content)}"
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    by_use = sorted(folder.iterdir(), key=os.path.getmtime)
    for old in by_use[:-MOST_KEPT]:
        old.unlink(missing_ok=True)
    return path
