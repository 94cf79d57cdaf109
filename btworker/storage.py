"""The data folder: its lock, which jobs have a folder in it, and its disk's free space. Parent.

    <data>/lock  jobs.sqlite3  scratch/  uploads/  voices/
    <data>/jobs/<job id>/      job_folder.py

Blocking functions; the parent calls them through DataFolder.run, a small bounded executor of its own, so that a stuck
disk blocks uploads and nothing else.
"""

import asyncio
import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, ParamSpec, TypeVar

from btworker.durable import SharedSync, sync_folder
from btworker.errors import EXIT_DATA_FOLDER, StartupError
from btworker.job_folder import JobFolder, remove_scratch
from btworker.jobs import Job, JobId

P = ParamSpec("P")
T = TypeVar("T")
VOICES = "voices"
"""Folder of the stored voices in the data folder."""
DELETED = ".deleted"
"""Ends the name of a job's folder once its deletion is certain."""


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """Room on the data disk: what this user may still write, and the whole of it."""

    free_bytes: int
    size_bytes: int


class DataFolder:
    """The data folder, locked for this process from `open` to `close`."""

    def __init__(self, root: Path, lock: IO[str], threads: int) -> None:
        self.root = root
        self.database = root / "jobs.sqlite3"
        self.jobs = root / "jobs"
        self.jobs_sync = SharedSync(self.jobs)
        self._lock = lock
        self.executor = ThreadPoolExecutor(threads, thread_name_prefix="files")

    @classmethod
    def open(cls, root: Path, *, threads: int = 8) -> "DataFolder":
        """Create the folder where it is missing, and lock it; `threads` do its file work. Raises StartupError."""
        try:
            (root / "jobs").mkdir(parents=True, exist_ok=True, mode=0o750)
            lock = open(root / "lock", "w", encoding="ascii")  # noqa: SIM115 - held until close()
        except OSError as error:
            raise StartupError(
                f"the data folder {root} cannot be used: {error.strerror}; "
                "give it to the user that runs btworker, or set WORKER_DATA_DIR",
                exit_code=EXIT_DATA_FOLDER,
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise StartupError(
                f"the data folder {root} is in use by another btworker; stop it, or set another WORKER_DATA_DIR",
                exit_code=EXIT_DATA_FOLDER,
            ) from None
        return cls(root, lock, threads)

    def close(self) -> None:
        """Give the lock back."""
        self.executor.shutdown(wait=False, cancel_futures=True)
        self._lock.close()

    def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "asyncio.Future[T]":
        """Call a blocking function in the file executor."""
        return asyncio.get_running_loop().run_in_executor(self.executor, partial(function, *args, **kwargs))

    def folder(self, job_id: JobId) -> JobFolder:
        """The folder of a job, existing or not."""
        return JobFolder(self.jobs / job_id)

    def create(self, job_id: JobId) -> JobFolder:
        """A new job's folder with an empty `in`, until `accept` on its way to becoming one."""
        folder = self.folder(job_id)
        folder.path.mkdir()
        folder.inputs.mkdir(mode=0o750)
        os.close(os.open(folder.receiving, os.O_CREAT | os.O_WRONLY, 0o640))
        return folder

    def accept(self, job_id: JobId) -> None:
        """The row is durable: from here on the folder is a job's, also where its row gets lost. Never fails, since the
        mark says nothing of a folder that has a row."""
        with contextlib.suppress(OSError):
            self.folder(job_id).receiving.unlink()

    def doom(self, job_id: JobId) -> None:
        """Make the deletion of a job certain, as far as the disk lets us: the next start finishes it."""
        path = self.folder(job_id).path
        with contextlib.suppress(OSError):  # gone already, or a failing disk: the row goes all the same
            os.rename(path, path.with_name(f"{path.name}{DELETED}"))
            sync_folder(self.jobs)

    def doomed(self) -> list[JobId]:
        """The jobs whose deletion is certain, and not at its end."""
        return [JobId(name.removesuffix(DELETED)) for name in self.names() if name.endswith(DELETED)]

    def remove(self, job_id: JobId) -> None:
        """Delete a job's folder, if it is there; it is renamed first, so that half a deletion is never seen."""
        path = self.folder(job_id).path
        doomed = path.with_name(f"{path.name}{DELETED}")
        with contextlib.suppress(OSError):  # it is gone; or a failing disk: rather half a deletion than none
            os.rename(path, doomed)
        for folder in (path, doomed):
            shutil.rmtree(folder, ignore_errors=True)

    def has_inputs(self, job: Job) -> bool:
        """Whether every input of a job is there; they were durable before its row was."""
        folder = self.folder(job.id)
        return all(folder.input(index).exists() for index in range(len(job.inputs)))

    def remove_inputs(self, job_id: JobId) -> None:
        """Delete what nobody reads once the job has ended: inputs and windows."""
        folder = self.folder(job_id)
        shutil.rmtree(folder.inputs, ignore_errors=True)
        shutil.rmtree(folder.windows, ignore_errors=True)

    def remove_remains(self, job_id: JobId, scratch: Path, *, with_inputs: bool, with_outputs: bool) -> None:
        """Delete what a job that has ended needs no more, and what its last attempt left: a child that was killed
        clears nothing away, and no other comes for it.
        """
        remove_scratch(scratch, job_id)
        folder = self.folder(job_id)
        shutil.rmtree(folder.unfinished_outputs, ignore_errors=True)
        shutil.rmtree(folder.all_shares, ignore_errors=True)
        with contextlib.suppress(OSError):
            folder.diarizing.unlink(missing_ok=True)
        for part in folder.renditions.glob("*.part"):
            with contextlib.suppress(OSError):
                part.unlink()
        if with_outputs:
            shutil.rmtree(folder.outputs, ignore_errors=True)
            shutil.rmtree(folder.renditions, ignore_errors=True)
        if with_inputs:
            self.remove_inputs(job_id)

    def names(self) -> Iterator[str]:
        """The names in the jobs folder: ids, and leftovers."""
        with os.scandir(self.jobs) as entries:
            for entry in entries:
                yield entry.name

    def sweep_inputs(self, finished: frozenset[JobId]) -> None:
        """Delete the inputs of jobs that have ended: a crash may have come between a job's end and their deletion."""
        for name in self.names():
            if name in finished:
                self.remove_inputs(JobId(name))

    def sweep_scratch(self, scratch: Path) -> None:
        """Delete the decoded audio that jobs of an earlier run left. Only safe at start."""
        for path in scratch.glob("wk_*"):
            path.unlink(missing_ok=True)

    def free_for(self, scratch: Path) -> tuple[int, int | None]:
        """Free bytes for the data, and for scratch files: None where both share one disk."""
        try:
            elsewhere = scratch.stat().st_dev != self.root.stat().st_dev
            return self.free_bytes(), shutil.disk_usage(scratch).free if elsewhere else None
        except FileNotFoundError:  # somebody removed it: the jobs will say so
            return self.free_bytes(), None

    def free_bytes(self) -> int:
        """Bytes that this user may still write on the data disk."""
        return self.disk_space().free_bytes

    def disk_space(self) -> DiskSpace:
        """Room on the data disk."""
        usage = shutil.disk_usage(self.root)
        return DiskSpace(usage.free, usage.total)
