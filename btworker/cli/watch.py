"""`btworker watch FOLDER`: what arrives in a folder is transcribed, and the results lie beside it.

Runs until it is stopped. Each recording is one job; what is noted of it (watched.py) lets a restart, or a kill -9, go
on without doing anything twice. One that fails is named once, and left until its file changes.
"""

import argparse
import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from btworker.cli.arrivals import POLL_S, SETTLE_S, SLOW_POLL_S, Arrivals, Bell, Version
from btworker.cli.connection import (
    EXIT_JOB_FAILED,
    EXIT_USAGE,
    add_server_arguments,
    client_settings,
    names_server,
    report,
    with_client,
)
from btworker.cli.job_options import add_formats, add_speech_arguments, wire_options
from btworker.cli.local_server import stop_on_signals
from btworker.cli.own_worker import with_own_worker
from btworker.cli.recordings import bucket_folder
from btworker.cli.saving import save_outputs, trouble_with
from btworker.cli.watched import InUseError, Note, Notes
from btworker.cli.wording import printable
from btworker.client import Client, ClientError, Job
from btworker.client.errors import BAD_FILE, NOT_SAVED
from btworker.jobs import JobStatus

AT_ONCE = 16
"""Recordings that are uploaded or waited for at once: the worker has its own line, and others stand in it."""
RETRY_S, LONGEST_RETRY_S = 2.0, 60.0
"""Seconds before a worker is asked again that is away, or full."""
GONE = frozenset({"NOT_FOUND", "GONE"})
"""The job or the upload was deleted at the worker: the recording is sent again."""
PASSING = frozenset(
    {"QUEUE_FULL", "QUOTA_EXCEEDED", "RATE_LIMITED", "DRAINING", "NOT_READY", "DISK_FULL", "LOCKED", NOT_SAVED}
)
"""Refusals that end by themselves, or once there is room here."""
EXAMPLES = """\
examples:
  btworker watch inbox/ --server http://gpu-box:8477 --formats srt,md
  btworker watch inbox/ --output-dir texts --diarize --delete
  btworker watch inbox/ --once                      what is there, and no more
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """The folder, what to ask of the worker, and where the results go."""
    parser = subparsers.add_parser(
        "watch",
        description="Transcribe every recording that arrives in a folder, one job for each, and save the results "
        "beside it. What was done is kept in .btworker-watch there: nothing is done twice.",
        epilog=EXAMPLES,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where recordings arrive, also in folders below it")
    add_speech_arguments(parser)
    results = parser.add_argument_group("results")
    add_formats(results)
    results.add_argument("--output-dir", type=Path, metavar="DIR", help="where they go (beside each recording)")
    results.add_argument("--outputs-to", dest="outputsTo", type=bucket_folder, metavar="ADDRESS",
                         help="s3://store/bucket/folder: the worker puts them there as well")  # fmt: skip
    results.add_argument("--delete", action="store_true", help="delete each job from the worker once it is fetched")
    results.add_argument("--once", action="store_true", help="end when all that is there is done")
    add_server_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Watch until SIGTERM or Ctrl-C; the jobs that the worker has go on, and the next start fetches them."""
    results = args.output_dir or args.folder
    if not args.folder.is_dir():
        report(f"{args.folder.absolute()} is no folder")
        return EXIT_USAGE
    if trouble := trouble_with(results):
        report(trouble)
        return EXIT_USAGE
    if any(path is not None for _, path in args.known_speaker):
        report("--known-speaker: watch takes stored voices alone (btworker voices add)")
        return EXIT_USAGE
    try:
        notes = Notes(results)
    except InUseError:
        report(f"another btworker watches with the notes in {results.absolute()}")
        return EXIT_USAGE
    if hasattr(signal, "SIGIO"):
        signal.signal(signal.SIGIO, signal.SIG_IGN)  # see arrivals.is_written
    try:
        watch = Watch(args, notes, results)
        return with_client(args, watch.run) if names_server(args) else with_own_worker(args, watch.run)
    except asyncio.CancelledError:  # SIGTERM, which is how a service ends
        return 0
    finally:
        notes.close()


class Watch:
    """One folder."""

    def __init__(self, args: argparse.Namespace, notes: Notes, results: Path) -> None:
        self._folder: Path = args.folder
        self._results = results
        self._options = wire_options(args)
        self._deletes: bool = args.delete
        self._once: bool = args.once
        self._memory = client_settings().upload_memory
        self._notes = notes
        self._arrivals = Arrivals(args.folder)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._places = asyncio.Semaphore(AT_ONCE)
        self._turn = asyncio.Lock()
        """One upload at a time: they share one line."""
        self._exit_code = 0
        self._is_there = True
        self._unsaved: set[str] = set()
        """Recordings that are left to the next start."""
        self._links: frozenset[Path] = frozenset()
        """Those of the last look, which were reported."""

    async def run(self, client: Client) -> int:
        """Until it is stopped; with --once, until all is done."""
        stop_on_signals()
        bell, self._ended_badly = Bell(self._folder), asyncio.get_running_loop().create_future()
        report(f"watching {self._folder}")
        reported = ""
        try:
            while True:
                await asyncio.to_thread(bell.watch)
                if bell.trouble != reported:
                    report(f"no inotify here ({bell.trouble}): the folder is looked at every few seconds")
                    reported = bell.trouble
                await self._look(client)
                self._settle()
                if self._once and not self._tasks and not self._arrivals.are_pending:
                    return self._exit_code
                await bell.wait(self._patience_s, self._ended_badly)
        finally:
            bell.close()
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    @property
    def _patience_s(self) -> float:
        """How long to wait for what inotify tells of."""
        if self._arrivals.are_pending or self._once:
            return SETTLE_S / 2
        return SLOW_POLL_S if self._is_there else POLL_S

    async def _look(self, client: Client) -> None:
        """Begin with every recording that is whole and not done."""
        if self._folder.is_dir() is not self._is_there:
            self._is_there = not self._is_there
            report(f"{self._folder} is {'there again' if self._is_there else 'not there any more: waiting for it'}")
        whole = await asyncio.to_thread(self._arrivals.look)
        self._report_links()
        for path, version in whole.items():
            name = path.relative_to(self._folder).as_posix()
            note = self._notes.of(name, version)
            if name not in self._tasks and name not in self._unsaved and not note.over:
                self._tasks[name] = task = asyncio.create_task(self._one(client, path, note), name=f"watch-{name}")
                task.add_done_callback(self._note_end)

    def _report_links(self) -> None:
        for path in sorted(self._arrivals.links - self._links):
            report(f"{printable(path.relative_to(self._folder).as_posix())} is a link, and left alone")
        self._links = self._arrivals.links

    def _note_end(self, task: "asyncio.Task[None]") -> None:
        """End the wait for arrivals where a task ended that should not have."""
        if not task.cancelled() and task.exception() is not None and not self._ended_badly.done():
            self._ended_badly.set_result(None)

    def _settle(self) -> None:
        """Forget tasks that have ended; raise what ended one that nobody expected."""
        for name, task in list(self._tasks.items()):
            if task.done():
                del self._tasks[name]
                task.result()

    async def _one(self, client: Client, path: Path, note: Note) -> None:
        """One recording to its end, however often the worker is away. Raises ClientError where the token is wrong."""
        async with self._places:
            delay_s = RETRY_S
            while True:
                try:
                    return await self._to_its_end(client, path, note)
                except ClientError as error:
                    note = self._notes.of(note.path, note.version)
                    if error.status == 401:
                        raise
                    if error.code == BAD_FILE and await _has_changed(path, note):
                        return None  # it went, or became another one: the next look finds it
                    if error.code in GONE and (note.upload or note.job):
                        note = await self._kept(note, upload=None, job=None)
                    elif not error.away and error.code not in PASSING:
                        return await self._failed(note, error.message)
                    elif error.code == NOT_SAVED and self._once:
                        self._unsaved.add(note.path)
                        return self._fail(note.path, error.message)
                    else:
                        report(f"{printable(note.path)}: {error.message}; trying again")
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, LONGEST_RETRY_S)

    async def _to_its_end(self, client: Client, path: Path, note: Note) -> None:
        if note.job is None:
            note = await self._submitted(client, path, note)
            if note.job is None:
                return  # it became another file: the next look finds it
        job = await client.wait(note.job or "", on_away=partial(_away, note.path))
        if job.status is not JobStatus.COMPLETE:
            await self._failed(note, job.error_message or f"the job was {job.status.value}")
            return
        await self._save(client, job, note)
        if self._deletes:
            with suppress(ClientError):
                await client.delete(job.id)

    async def _submitted(self, client: Client, path: Path, note: Note) -> Note:
        """The note with its job."""
        async with self._turn:
            if note.upload is None:
                if await _has_changed(path, note):
                    return note
                upload = await client.uploads.send(path, on_away=partial(_away, note.path), memory=self._memory)
                if await _has_changed(path, note):
                    return note
                note = await self._kept(note, upload=upload)
            job = await client.uploads.submit(
                [note.upload or ""], self._options, idempotency_key=note.key(self._options)
            )
        return await self._kept(note, job=job.id)

    async def _save(self, client: Client, job: Job, note: Note) -> None:
        paths = await save_outputs(client, job, self._results / note.results, _reporter(note.path))
        await self._kept(note, done=True)
        for saved in paths:
            print(saved, flush=True)

    async def _failed(self, note: Note, reason: str) -> None:
        await self._kept(note, failed=reason)
        self._fail(note.path, reason)

    def _fail(self, name: str, reason: str) -> None:
        self._exit_code = EXIT_JOB_FAILED
        report(f"{printable(name)}: failed: {printable(reason)}")

    async def _kept(self, note: Note, **changes: Any) -> Note:
        note = replace(note, **changes)
        try:
            await asyncio.to_thread(self._notes.keep, note)
        except OSError as error:  # until the end of this run it is known all the same
            report(f"{printable(note.path)}: this cannot be noted: {(error.strerror or str(error)).lower()}")
        return note


async def _has_changed(path: Path, note: Note) -> bool:
    """Whether it went, or became another file, or a link."""
    return await asyncio.to_thread(Version.of, path) != note.version


def _away(name: str) -> None:
    report(f"{printable(name)}: the worker does not answer; trying again")


def _reporter(name: str) -> Callable[[str], None]:
    return lambda text: report(f"{printable(name)}: {text}")
