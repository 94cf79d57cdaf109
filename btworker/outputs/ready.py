"""Long transcripts in every format, as they look by default: written at the job's end, so that nobody waits for the
first rendering. Blocking; the child writes, the front end finds.

    <job's folder>/out/.<number of the input>.<format>.<sha256 of the content>

A rendering that is missing costs time and nothing else, so a disk that has no room for it is no failure.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path

from btworker.durable import write_durably
from btworker.jobs import OutputFormat

LARGE_BYTES = 2**20
"""Size of a stored transcript (about an hour) from which on its renderings are kept: a shorter one takes less time to
render than a file to write."""


def keep_ready(folder: Path, index: int, contents: Mapping[OutputFormat, bytes]) -> None:
    """Write the renderings of input number `index`, durably but for the folder's own fsync."""
    for kind, content in contents.items():
        path = folder / f".{index}.{kind.value}"
        try:
            path.rename(f"{path}.{write_durably(path, content)}")
        except OSError:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def find_ready(folder: Path, index: int, kind: OutputFormat) -> Path | None:
    """The file of a rendering, whose name ends in its hash; None where there is none."""
    return next(folder.glob(f".{index}.{kind.value}.*"), None)
