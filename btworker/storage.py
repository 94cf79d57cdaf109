"""Files on disk: the job folders, durable writes, free space, and the lock on the data folder.

    <data>/lock  jobs.sqlite3  scratch/
    <data>/jobs/<job id>/receiving         there until the job is accepted: before, nobody was promised anything
                         in/<n>            inputs, "<n>.part" while they arrive
                         in/voice.<n>      reference of known speaker n; "voice.<n>.json" where it is a stored voice
                         windows/<n>.jsonl finished windows of input n, so that a second attempt goes on from there
                         windows/<n>.done  there once these are all
                         shares/<n>/       parts of input n that several processes decode (engine/asr/spread/shares.py)
                         out/              results, .transcript.<n>.json, .<n>.<format>.<hash> (outputs/ready.py);
                                           "out.part" until all are durable
                         renditions/       what players get (renditions.py)
                         rendered/         long transcripts in formats that were asked for (web/jobs/renderings.py)
                         diarizing         there while speakers are told apart: who dies there is not sent there again

Blocking functions; the parent calls them through DataFolder.run, a small bounded executor of its own, so that a stuck
disk blocks uploads and nothing else. Names from clients never become paths here: folders are ids, inputs are numbers.
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
from btworker.jobs import Job, JobId
from btworker.renditions import RenditionFiles
from btworker.stems import numbered

P = ParamSpec("P")
T = TypeVar("T")
VOICES = "voices"
"""Folder of the stored voices in the data folder."""
DELETED = ".deleted"
"""Ends the name of a job's folder once its deletion is certain."""


@dataclass(frozen=True, slots=True)
class JobFolder:
    """Where one job's files lie."""

    path: Path

    @property
    def inputs(self) -> Path:
        """Folder of the inputs."""
        return self.path / "in"

    @property
    def windows(self) -> Path:
        """Folder of the finished windows."""
        return self.path / "windows"

    @property
    def outputs(self) -> Path:
        """Folder of the results."""
        return self.path / "out"

    @property
    def unfinished_outputs(self) -> Path:
        """Folder of the results until all of them are durable."""
        return self.path / "out.part"

    @property
    def rendered(self) -> Path:
        """Folder of the long transcripts that were rendered on request: copies."""
        return self.path / "rendered"

    @property
    def renditions(self) -> Path:
        """Folder of what players get."""
        return self.path / "renditions"

    def rendition(self, index: int) -> RenditionFiles:
        """What players get of input number `index`."""
        return RenditionFiles(self.renditions, index)

    def transcript(self, index: int) -> Path:
        """All that was found in input `index`, among the results but not one of them: other formats are made of it."""
        return self.outputs / transcript_name(index)

    @property
    def receiving(self) -> Path:
        """The mark of an upload on its way, gone once its job is accepted."""
        return self.path / "receiving"

    @property
    def diarizing(self) -> Path:
        """The note of an attempt that tells speakers apart right now."""
        return self.path / "diarizing"

    def input(self, index: int) -> Path:
        """The file of input number `index`."""
        return self.inputs / str(index)

    def reference(self, index: int, *, stored: bool = False) -> Path:
        """The voice of known speaker number `index`: a recording, or the copy of a stored voice."""
        return self.inputs / f"voice.{index}{'.json' if stored else ''}"

    def windows_complete_mark(self, index: int) -> Path:
        """Empty file that is there once all windows of input number `index` are."""
        return self.windows / f"{index}.done"

    def shares(self, index: int, take: int = 0) -> Path:
        """What the processes that decode input number `index`, or a take of it, together tell each other."""
        return self.all_shares / numbered(index, take)

    @property
    def all_shares(self) -> Path:
        """Folder of what is decoded by several processes."""
        return self.path / "shares"

    def windows_of(self, index: int, take: int = 0) -> Path:
        """The finished windows of input number `index`, or of a take of it (whose segments are also in the former)."""
        return self.windows / f"{numbered(index, take)}.jsonl"

    def has_results(self) -> bool:
        """Whether the job had come to its results here, whatever its row says."""
        return self.outputs.is_dir()

    def has_whole_input(self) -> bool:
        """Whether at least one input is all there."""
        return self.inputs.is_dir() and any(path.name.isdecimal() for path in self.inputs.iterdir())


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


def transcript_name(index: int) -> str:
    """No result begins with a dot."""
    return f".transcript.{index}.json"


def scratch_file(scratch: Path, job_id: JobId, index: int) -> Path:
    """Where the decoded sound of input number `index` lies while it is needed."""
    return scratch / f"{job_id}.{index}.s16"


def remove_scratch(scratch: Path, job_id: JobId) -> None:
    """Remove every scratch file of a job, those of dead attempts as well."""
    for path in scratch.glob(f"{job_id}.*.s16"):
        path.unlink(missing_ok=True)
