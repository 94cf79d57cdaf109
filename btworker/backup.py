"""A worker's jobs in a folder of the operator's, and back: the table, and of each job the files that its row speaks of.

    <folder>/<time>/jobs.sqlite3        one file, by SQLite's own backup
                    jobs/<job id>/in    inputs of jobs that wait or run
                                  out   results
                                  renditions
           voices/              stored voices

Each backup is whole by itself; a file that the one before has as well is a second name of it and takes no room. The
worker works on meanwhile: the table is copied first, then the files; where a job came to its end between the two, and
its inputs are gone, both are looked at again. Blocking; runs in the command line, never in a worker.
"""

import fcntl
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from btworker.durable import publish, sync_folder, write_durably
from btworker.job_folder import JobFolder
from btworker.jobs import Job
from btworker.leftovers import free_name, put_aside
from btworker.storage import VOICES, DataFolder
from btworker.store.file import copy_table, looking_at
from btworker.store.rows import job_from_json

TABLE = "jobs.sqlite3"
NAME = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ")
ROUNDS = 10
"""Looks at a worker whose jobs end faster than they are copied; each has little left to do."""


class BusyError(Exception):
    """Another backup is being made in the same folder."""


@dataclass(frozen=True, slots=True)
class BackedUp:
    """One backup."""

    path: Path
    jobs: int
    incomplete: tuple[str, ...]
    """Ids of jobs whose files are not all there: deleted by hand, or ended too fast for ROUNDS."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did."""

    jobs: int
    incomplete: tuple[str, ...]
    """Ids of jobs whose files neither the data folder nor the backup has."""
    earlier_table: Path | None
    """Where the table is that was there before."""
    aside: Path | None
    """Where those files are that belong to another state of the same jobs."""


def backups(folder: Path) -> list[Path]:
    """The finished backups in a folder, the newest last."""
    return sorted(path for path in folder.iterdir() if NAME.fullmatch(path.name)) if folder.is_dir() else []


def back_up(source: Path, folder: Path, snapshot: Callable[[Path], None]) -> BackedUp:
    """Copy the jobs of data folder `source` to a new place in `folder`; `snapshot` copies the table.

    Raises BusyError, OSError, and what `snapshot` does; nothing is left then.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o750)
    with _alone_in(folder):
        final = _new_name(folder)
        part = final.with_name("unfinished")
        shutil.rmtree(part, ignore_errors=True)  # of one that was killed
        try:
            found = _fill(part, source, snapshot, earlier=next(iter(backups(folder)[-1:]), None))
            os.rename(part, final)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        sync_folder(folder)
    return BackedUp(final, *found)


def restore(backup: Path, data: DataFolder) -> Restored:
    """Give a data folder that no worker uses the table of a backup, and the files that its jobs lack.

    Nothing that was there is deleted. Raises OSError, StartupError, sqlite3.DatabaseError.
    """
    part = data.root / f"{TABLE}.part"
    with looking_at(backup / TABLE) as table:
        copy_table(table, part)
    jobs = list(_jobs(part))
    mistaken = [job.id for job in jobs if not _is_whole(job, here := data.folder(job.id)) and here.path.exists()]
    aside = put_aside(data, mistaken).aside
    incomplete = _copy_files(jobs, backup / "jobs", data.jobs)
    _copy_voices(backup / VOICES, data.root / VOICES)
    earlier = _put_table_aside(data)
    publish(part, data.database)
    return Restored(len(jobs), incomplete, earlier, aside)


def copy_of_idle(database: Path, target: Path) -> None:
    """The table of a data folder that no worker uses. Raises StartupError, sqlite3.DatabaseError."""
    with looking_at(database) as table:
        copy_table(table, target)


def _new_name(folder: Path) -> Path:
    """The time, in UTC; a second backup within a second is dated a second later, so that names have an order."""
    moment = time.time()
    while (path := folder / time.strftime("%Y-%m-%dT%H-%M-%SZ", time.gmtime(moment))).exists():
        moment += 1
    return path


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError from None
        yield
    finally:
        os.close(descriptor)


def _fill(
    part: Path, source: Path, snapshot: Callable[[Path], None], *, earlier: Path | None
) -> tuple[int, tuple[str, ...]]:
    """How many jobs a new backup has, and which of them are incomplete."""
    part.mkdir(mode=0o750)
    jobs: list[Job] = []
    incomplete: tuple[str, ...] = ()
    for _ in range(ROUNDS):
        snapshot(part / TABLE)
        jobs = list(_jobs(part / TABLE))
        incomplete = _copy_files(jobs, source / "jobs", part / "jobs", earlier=earlier and earlier / "jobs")
        if not incomplete:
            break
    _copy_voices(source / VOICES, part / VOICES)
    sync_folder(part)
    return len(jobs), incomplete


def _jobs(table: Path) -> Iterator[Job]:
    with closing(sqlite3.connect(table)) as db:
        for (body,) in db.execute("SELECT body FROM jobs ORDER BY seq"):
            yield job_from_json(body)


def _files(job: Job, folder: JobFolder) -> list[Path]:
    """What the row speaks of: the results once there are any, until then the inputs."""
    if job.outputs:
        return [folder.outputs / output.filename for output in job.outputs]
    if job.status.finished:  # a failure has no files
        return []
    stored = [(folder.reference(n), folder.reference(n, stored=True)) for n in range(len(job.options.known_speakers))]
    voices = [copy if copy.exists() else clip for clip, copy in stored]
    if job.sources:  # what is fetched by URL is fetched again
        return voices
    return [*(folder.input(index) for index in range(len(job.inputs))), *voices]


def _copy_voices(source: Path, target: Path) -> None:
    """Copy the stored voices that the target lacks, a file of a few KB each."""
    for path in sorted(source.glob("vo_*.json")):
        if not (target / path.name).exists():
            target.mkdir(exist_ok=True, mode=0o750)
            with suppress(FileNotFoundError):  # it was deleted meanwhile
                write_durably(target / path.name, path.read_bytes())
    if target.exists():
        sync_folder(target)


def _is_whole(job: Job, folder: JobFolder) -> bool:
    return all(path.is_file() for path in _files(job, folder))


def _copy_files(jobs: list[Job], source: Path, target: Path, *, earlier: Path | None = None) -> tuple[str, ...]:
    """Copy what `target` lacks; the ids of jobs whose files are not all there then."""
    for job in jobs:
        folder = JobFolder(source / job.id)
        stored = [folder.transcript(index) for index in range(len(job.inputs))] if job.outputs else []
        stored += [path for one in job.renditions for path in folder.rendition(one.index).both]
        for path in (*_files(job, folder), *stored):
            place = path.relative_to(source)
            if path.is_file() and not (target / place).exists():
                _copy(path, target / place, earlier and earlier / place)
    return tuple(job.id for job in jobs if not _is_whole(job, JobFolder(target / job.id)))


def _copy(source: Path, target: Path, earlier: Path | None) -> None:
    """A durable copy, or a second name of the same file in an earlier backup; nothing where the source is gone."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    if earlier is not None and _is_same(source, earlier):
        with suppress(OSError):  # this disk knows one name for a file only
            os.link(earlier, target)
            return
    part = target.with_name(f"{target.name}.part")
    with suppress(FileNotFoundError):
        shutil.copy2(source, part)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        publish(part, target)


def _is_same(source: Path, earlier: Path) -> bool:
    """As rsync has it: no job's file is written twice within a nanosecond, to the same length."""
    try:
        one, other = source.stat(), earlier.stat()
    except FileNotFoundError:
        return False
    return (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)


def _put_table_aside(data: DataFolder) -> Path | None:
    """The table with its log, under another name."""
    aside = free_name(data, f"{TABLE}.before-restore")
    for suffix in ("-wal", "-shm", ""):
        with suppress(FileNotFoundError):
            os.rename(data.root / f"{TABLE}{suffix}", aside.with_name(f"{aside.name}{suffix}"))
    return aside if aside.exists() else None
