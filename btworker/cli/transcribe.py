"""`btworker transcribe`: recordings go to a worker, one job each, and the transcripts come into a folder.

Where no worker is named, one of the command's own does it, on this machine (own_worker.py).

Uploads go one after the other (they share one network), the worker queues the jobs, each is fetched when it is done.
One that fails does not stop the others. Paths of the results go to stdout, everything else to stderr.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from btworker.cli.board import Board, Row, board, summary
from btworker.cli.connection import (
    EXIT_JOB_FAILED,
    EXIT_USAGE,
    add_server_arguments,
    client_settings,
    exit_code,
    names_server,
    report,
    with_client,
)
from btworker.cli.interrupts import at_a_terminal, interruptible
from btworker.cli.job_options import add_formats, add_speech_arguments, trouble_with_names, wire_options
from btworker.cli.own_worker import with_own_worker
from btworker.cli.recordings import (
    NoRecordingError,
    Recording,
    Remote,
    bucket_folder,
    named_anywhere,
    recording,
    with_folders,
)
from btworker.cli.saving import save_outputs, trouble_with
from btworker.cli.wording import clock, megabytes, printable
from btworker.client import Client, ClientError, Job
from btworker.client.errors import UNREACHABLE
from btworker.client.resumable import WORTH_REMEMBERING
from btworker.jobs import JobStatus

EXAMPLES = """\
examples:
  btworker transcribe talk.mp3 --model small                 on this machine
  export WORKER_URL=http://gpu-box:8477 WORKER_TOKEN=secret  and then there:
  btworker transcribe interviews/ --live --diarize
  btworker transcribe *.m4a --language en --formats md,srt --output-dir texts
  btworker transcribe call.wav --model large-v3 --option beamSize=5
  btworker transcribe https://a.example/talk.mp3             fetched by it
  btworker transcribe call.wav --channels separate --start 0:05:00 --end 0:10:00
"""
HOPELESS = frozenset({UNREACHABLE, "UNAUTHORIZED", "DRAINING"})
"""What the next file would meet as well."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Files, what to ask of the worker, and where the results go."""
    parser = subparsers.add_parser(
        "transcribe",
        description="Send recordings to a worker, one job for each, and save the transcripts. Without --server and "
        "WORKER_URL this machine transcribes them itself.",
        epilog=EXAMPLES,
    )
    what = "a recording (anything that ffmpeg reads), a folder: all that is named like one in it, or an address from "
    what += "which the worker fetches it (https://…, s3://store/bucket/key)"
    parser.add_argument("files", nargs="+", type=recording, metavar="FILE", help=what)
    add_speech_arguments(parser)
    results = parser.add_argument_group("results")
    add_formats(results)
    results.add_argument("--output-dir", type=Path, default=Path(), metavar="DIR", help="where they go (here)")
    results.add_argument("--outputs-to", dest="outputsTo", type=bucket_folder, metavar="ADDRESS",
                         help="s3://store/bucket/folder: the worker puts them there as well")  # fmt: skip
    results.add_argument("--live", action="store_true", help="print the text as it is recognized")
    results.add_argument("--json", action="store_true", help="print the finished jobs as JSON instead of the paths")
    results.add_argument("--delete", action="store_true", help="delete each job from the worker once it is fetched")
    add_server_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Transcribe all files. Ctrl-C leaves the jobs that were accepted to the worker, and says how to get at them."""
    try:
        args.files = list(dict.fromkeys(named_anywhere(args.files)))
    except NoRecordingError as error:
        report(str(error))
        return EXIT_USAGE
    if trouble := trouble_with(args.output_dir):
        report(trouble)
        return EXIT_USAGE
    if trouble := trouble_with_names(args.known_speaker):
        report(f"--known-speaker: {trouble}")
        return EXIT_USAGE
    if not names_server(args):
        return with_own_worker(args, Batch(args).run)
    batch = Batch(args, memory=client_settings().upload_memory)
    try:
        return with_client(args, batch.run_interruptibly if at_a_terminal() else batch.run)
    finally:
        batch.report_what_is_left()


@dataclass
class Batch:
    """All recordings of one command."""

    args: argparse.Namespace
    jobs: list[Job] = field(default_factory=list)
    memory: Path | None = None
    """Folder where uploads that are broken off are remembered; None where the worker ends with the command."""
    unfinished: set[str] = field(default_factory=set)
    """Jobs that the worker has accepted and that have not ended."""
    exit_code: int = 0
    _client: Client = field(init=False)
    _board: Board = field(init=False)
    _upload: "tuple[Recording, int, int] | None" = None
    """The file that is on its way, how many bytes of it have arrived, and of how many."""

    async def run(self, client: Client) -> int:
        """Every recording; the worst exit code."""
        one_upload = asyncio.Lock()
        with board(rows=len(self.args.files)) as self._board:
            folders = with_folders(self.args.files, self.args.output_dir)
            saved = await asyncio.gather(
                *(self._one(client, self._board, path, folder, one_upload) for path, folder in folders)
            )
        if self.args.json:
            print(json.dumps([job.raw for job in self.jobs], ensure_ascii=False, indent=2))
        else:
            for path in (path for paths in saved for path in paths):
                print(path)
        return self.exit_code

    async def run_interruptibly(self, client: Client) -> int:
        """The same; Ctrl-C asks what is to become of the jobs."""
        self._client = client
        return await interruptible(self, self.run(client))

    def pause(self) -> None:
        """Draw nothing more."""
        self._board.pause()

    def resume(self) -> None:
        """Draw again."""
        self._board.resume()

    async def cancel(self) -> None:
        """Cancel all jobs that the worker still has."""
        for job_id in list(self.unfinished):
            try:
                await self._client.cancel(job_id)
            except ClientError as error:
                report(f"{job_id} is not canceled: {error.message}")
            else:
                report(f"{job_id} is canceled")
                self.unfinished.discard(job_id)

    def report_what_is_left(self) -> None:
        """What the worker still has, and how to go on with it."""
        if self.unfinished:
            ids = " ".join(sorted(self.unfinished))
            report(f"the worker goes on with {ids} (later: btworker jobs fetch ID, or jobs cancel ID)")
        if self._upload is not None:
            path, sent_bytes, total_bytes = self._upload
            arrived = f"{megabytes(sent_bytes)} of {megabytes(total_bytes)} are at the worker"
            further = "goes on with it" if total_bytes >= WORTH_REMEMBERING else "sends it again"
            report(f"{printable(path.name)}: {arrived}; the same command {further}")

    async def _one(self, client: Client, bars: Board, path: Recording, folder: Path, turn: asyncio.Lock) -> list[Path]:
        async with turn:
            row = bars.row(path.name)

            def sending(sent_bytes: int, total_bytes: int) -> None:
                self._upload = path, sent_bytes, total_bytes
                row.sending(sent_bytes, total_bytes)

            try:
                job = await self._send(client, path, sending, row)
            except ClientError as error:
                if error.code in HOPELESS:
                    raise
                self._upload = None
                return self._failed(row, error.message, exit_code(error))
        try:
            return await self._follow(client, row, job, folder)
        except ClientError as error:
            return self._failed(row, error.message, exit_code(error))

    async def _send(self, client: Client, path: Recording, sending: Callable[[int, int], None], row: Row) -> Job:
        options = wire_options(self.args)
        known = {name: voice for name, voice in self.args.known_speaker if voice is not None}
        if isinstance(path, Remote):
            return await client.submit_inputs([path.wire], options, known_speakers=known)
        return await client.send(
            path,
            options,
            on_progress=sending,
            on_job=self._accepted,
            on_away=row.away,
            memory=self.memory,
            known_speakers=known,
        )

    def _accepted(self, job_id: str) -> None:
        self.unfinished.add(job_id)
        self._upload = None

    async def _follow(self, client: Client, row: Row, job: Job, folder: Path) -> list[Path]:
        self._accepted(job.id)  # a server without resumable uploads has not called it
        job, _ = await asyncio.gather(
            client.wait(job.id, on_update=row.working, on_away=row.away), self._report_live(client, row, job.id)
        )
        self.unfinished.discard(job.id)
        self.jobs.append(job)
        if job.status is not JobStatus.COMPLETE:
            return self._failed(row, job.error_message or f"the job was {job.status.value}", EXIT_JOB_FAILED)
        paths = await save_outputs(client, job, folder, row.note)
        row.done(summary(job))
        for warning in job.warnings:
            row.note(f"warning: {warning}")
        if self.args.delete:
            await client.delete(job.id)
        return paths

    async def _report_live(self, client: Client, row: Row, job_id: str) -> None:
        """Each segment as it comes: on stdout for other programs, above the progress bars for people."""
        if not self.args.live:
            return
        try:
            async for event in client.events(job_id):
                if event.name == "segment":
                    channel = f"{event.data['channel']}: " if "channel" in event.data else ""
                    line = f"[{clock(event.data['start'])}] {channel}{printable(event.data['text'])}"
                    if sys.stdout.isatty():
                        row.report(line)
                    else:
                        print(line, flush=True)
        except ClientError as error:  # the job itself goes on
            row.note(f"no more live text: {error.message}")

    def _failed(self, row: Row, message: str, code: int) -> list[Path]:
        row.failed(message)
        self.exit_code = max(self.exit_code, code)
        return []
