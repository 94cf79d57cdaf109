"""Where results go: a folder that is tried before the work, and files that are not overwritten without a word."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile

from btworker.client import Client, Job
from btworker.client.trying import when_allowed


def trouble_with(folder: Path) -> str:
    """Why nothing can be saved in a folder, which is made where it is missing; empty where it can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return f"the folder {folder.absolute()} cannot be written: {(error.strerror or str(error)).lower()}"


async def save_outputs(client: Client, job: Job, folder: Path, note: Callable[[str], None]) -> list[Path]:
    """Save all results of a job; `note` gets a line for each file that was there. Raises ClientError."""
    save = partial(client.download, job.id, folder=folder, on_replaced=replaced(note))
    return [await when_allowed(partial(save, item.filename, sha256=item.sha256 or None)) for item in job.outputs]


def replaced(note: Callable[[str], None]) -> Callable[[Path], None]:
    """Return what reports to `note` a file that was there, and has another name now."""

    def report_kept(old: Path) -> None:
        note(f"{old.with_name(old.name.removesuffix('~'))}: the file that was there is {old.name} now")

    return report_kept
