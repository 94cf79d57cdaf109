"""What a start finds in the jobs folder beside the jobs: what may be somebody's is put aside, the rest goes. Parent.

    a folder without a row that holds            goes to
    results, or whole inputs                     jobs.without-row.<time>/ beside jobs/, for the operator to look at
    an upload that no client was ever answered   nowhere: it is deleted (JobFolder.receiving)
    neither: the half of an upload               nowhere
    what was to be deleted (<id>.deleted)        nowhere; with a row, the deletion is finished by service/retention.py

A folder loses its row where the table was lost, or replaced by an older one from a backup. Where the whole table is
new, the whole folder becomes jobs.without-table.<time>/. Blocking functions, safe only before the first job runs.
"""

import contextlib
import os
import re
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from btworker.durable import sync_folder
from btworker.job_folder import JobFolder
from btworker.jobs import JobId
from btworker.storage import DELETED, DataFolder

JOB_NAME = re.compile(rf"wk_[0-9a-f]{{16}}({re.escape(DELETED)})?")
"""What btworker itself puts into the jobs folder; everything else there is left alone."""


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What became of the folders without a row."""

    removed: int = 0
    put_aside: int = 0
    aside: Path | None = None
    """Where those lie that were put aside."""
    stuck: int = 0
    """Folders that the file system did not move (a full disk, another file system): they are left where they are."""


def clear_up(data: DataFolder, known: frozenset[JobId], *, table_is_new: bool) -> Leftovers:
    """Sort out every job folder without a row, and finish the acceptance of those that have one."""
    names = [name for name in data.names() if JOB_NAME.fullmatch(name)]
    for job_id in known.intersection(names):  # the kill may have come between the row and the end of the mark
        data.accept(job_id)
    if table_is_new and names and (aside := _put_all_aside(data)) is not None:
        return Leftovers(put_aside=len(names), aside=aside)
    unknown = [name for name in names if name.removesuffix(DELETED) not in known]
    wanted = [name for name in unknown if _may_be_wanted(name, JobFolder(data.jobs / name))]
    for name in set(unknown) - set(wanted):
        shutil.rmtree(data.jobs / name, ignore_errors=True)
    found = put_aside(data, wanted)
    return Leftovers(len(unknown) - len(wanted), found.put_aside, found.aside, found.stuck)


def put_aside(data: DataFolder, names: Iterable[str]) -> Leftovers:
    """Move job folders out of the way, into one folder that says by its name why."""
    aside, moved, stuck = free_name(data, "jobs.without-row"), 0, 0
    for name in names:
        try:
            aside.mkdir(exist_ok=True, mode=0o750)
            os.rename(data.jobs / name, aside / name)
            moved += 1
        except OSError:
            stuck += 1
    if moved:
        for folder in (aside, data.jobs, data.root):
            sync_folder(folder)
    return Leftovers(put_aside=moved, aside=aside if moved else None, stuck=stuck)


def _put_all_aside(data: DataFolder) -> Path | None:
    aside = free_name(data, "jobs.without-table")
    try:
        os.rename(data.jobs, aside)
        data.jobs.mkdir(mode=0o750)
    except OSError:  # a mount point, or a full disk: its folders are then looked at one by one
        with contextlib.suppress(OSError):
            os.rename(aside, data.jobs)
        return None
    sync_folder(data.root)
    return aside


def free_name(data: DataFolder, kind: str) -> Path:
    """A name in the data folder that says what is put aside, and when."""
    moment = int(time.time())
    while (path := data.root / f"{kind}.{moment}").exists():
        moment += 1
    return path


def _may_be_wanted(name: str, folder: JobFolder) -> bool:
    """Results are somebody's, and so are whole inputs, unless no client was answered that they had arrived."""
    if name.endswith(DELETED):
        return False
    return folder.has_results() or (folder.has_whole_input() and not folder.receiving.exists())
