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
from typing import Any

from btworker.cli.board import Board, Row, board, summary
from btworker.cli.connection import (
    EXIT_JOB_FAILED,
    EXIT_USAGE,
    add_server_arguments,
    client_settings,
    exit_code,
    names_server,
    say,
    with_client,
)
from btworker.cli.interrupts import at_a_terminal, interruptible
from btworker.cli.own_worker import with_own_worker
from btworker.cli.recordings import NoRecordingError, named_by, with_folders
from btworker.cli.saving import save_outputs, trouble_with
from btworker.cli.wording import clock, megabytes, printable
from btworker.client import Client, ClientError, Job
from btworker.client.errors import UNREACHABLE
from btworker.client.resumable import WORTH_REMEMBERING
from btworker.jobs import JobStatus, OutputFormat

EXAMPLES = """\
examples:
  btworker transcribe talk.mp3 --model small                 on this machine
  export WORKER_URL=http://gpu-box:8477 WORKER_TOKEN=secret  and then there:
  btworker transcribe interviews/ --live --diarize
  btworker transcribe *.m4a --language en --formats md,srt --output-dir texts
  btworker transcribe call.wav --model large-v3 --option beamSize=5
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
    what = "a recording (anything that ffmpeg reads), or a folder: all that is named like one in it"
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help=what)
    speech = parser.add_argument_group("speech (the worker's defaults unless given)")
    speech.add_argument("--model", help="one of the worker's models (btworker models list --server URL)")
    speech.add_argument("--language", metavar="CODE", help="what is spoken, like en or german; detected unless given")
    speech.add_argument("--languages", metavar="LIST", help="those that it may be in, with commas, like de,en")
    speech.add_argument("--translate", dest="task", action="store_const", const="translate", help="into English")
    speech.add_argument("--prompt", metavar="TEXT", help="names and words that may come up, or the text before")
    speech.add_argument("--keywords", type=_keywords, action="extend", metavar="LIST",
                        help="names and terms that are likely, with commas; @FILE has one a line")  # fmt: skip
    speech.add_argument("--temperature", type=float, metavar="T", help="0 to 1; without it, 0 and higher where 0 fails")
    speech.add_argument("--beam-size", type=int, metavar="N", dest="beamSize", help="beams; greedy unless given")
    speech.add_argument("--diarize", dest="diarizationEnabled", action="store_const", const=True,
                        help="tell speakers apart: who said what")  # fmt: skip
    speech.add_argument("--known-speaker", type=_known_speaker, action="append", default=[], metavar="NAME[=FILE]",
                        help="somebody who may be in it, by a stored voice or by a file with 2 to 30 s of theirs; "
                        "may be repeated")  # fmt: skip
    speech.add_argument("--channels", choices=("mix", "separate"), help="separate: transcribe each channel by itself")
    speech.add_argument("--start", metavar="TIME", help="where to begin, in seconds or as h:mm:ss")
    speech.add_argument("--end", metavar="TIME", help="where to end")
    speech.add_argument("--range", action="append", dest="ranges", metavar="START-END",
                        help="transcribe only this part; may be repeated")  # fmt: skip
    speech.add_argument("--option", type=_option, action="append", default=[], metavar="NAME=VALUE",
                        help="any option of docs/api.md, under its name there; may be repeated")  # fmt: skip
    results = parser.add_argument_group("results")
    known = ", ".join(item.value for item in OutputFormat)
    results.add_argument("--formats", type=_formats, dest="outputs", metavar="LIST", help=f"of {known} (json,md)")
    results.add_argument("--output-dir", type=Path, default=Path(), metavar="DIR", help="where they go (here)")
    results.add_argument("--live", action="store_true", help="print the text as it is recognized")
    results.add_argument("--json", action="store_true", help="print the finished jobs as JSON instead of the paths")
    results.add_argument("--delete", action="store_true", help="delete each job from the worker once it is fetched")
    add_server_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Transcribe all files. Ctrl-C leaves the jobs that were accepted to the worker, and says how to get at them."""
    try:
        args.files = list(dict.fromkeys(named_by(args.files)))
    except NoRecordingError as error:
        say(str(error))
        return EXIT_USAGE
    if trouble := trouble_with(args.output_dir):
        say(trouble)
        return EXIT_USAGE
    if len({path is None for _, path in args.known_speaker}) > 1:
        say("--known-speaker: either all with a file, or none")
        return EXIT_USAGE
    if not names_server(args):
        return with_own_worker(args, Batch(args).run)
    batch = Batch(args, memory=client_settings().upload_memory)
    try:
        return with_client(args, batch.run_interruptibly if at_a_terminal() else batch.run)
    finally:
        batch.say_what_is_left()


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
    _upload: "tuple[Path, int, int] | None" = None
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
                say(f"{job_id} is not canceled: {error.message}")
            else:
                say(f"{job_id} is canceled")
                self.unfinished.discard(job_id)

    def say_what_is_left(self) -> None:
        """What the worker still has, and how to go on with it."""
        if self.unfinished:
            ids = " ".join(sorted(self.unfinished))
            say(f"the worker goes on with {ids} (later: btworker jobs fetch ID, or jobs cancel ID)")
        if self._upload is not None:
            path, sent_bytes, total_bytes = self._upload
            arrived = f"{megabytes(sent_bytes)} of {megabytes(total_bytes)} are at the worker"
            further = "goes on with it" if total_bytes >= WORTH_REMEMBERING else "sends it again"
            say(f"{printable(path.name)}: {arrived}; the same command {further}")

    async def _one(self, client: Client, bars: Board, path: Path, folder: Path, turn: asyncio.Lock) -> list[Path]:
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

    async def _send(self, client: Client, path: Path, sending: Callable[[int, int], None], row: Row) -> Job:
        """In pieces that go on; in one where voices of known speakers come with it."""
        options, known = wire_options(self.args), dict(self.args.known_speaker)
        if any(known.values()):
            return await client.submit([path], options, on_progress=sending, known_speakers=known)
        return await client.send(
            path, options, on_progress=sending, on_job=self._accepted, on_away=row.away, memory=self.memory
        )

    def _accepted(self, job_id: str) -> None:
        self.unfinished.add(job_id)
        self._upload = None

    async def _follow(self, client: Client, row: Row, job: Job, folder: Path) -> list[Path]:
        self._accepted(job.id)  # a server without resumable uploads has not called it
        job, _ = await asyncio.gather(
            client.wait(job.id, on_update=row.working, on_away=row.away), self._say_live(client, row, job.id)
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

    async def _say_live(self, client: Client, row: Row, job_id: str) -> None:
        """Each segment as it comes: on stdout for other programs, above the progress bars for people."""
        if not self.args.live:
            return
        try:
            async for event in client.events(job_id):
                if event.name == "segment":
                    channel = f"{event.data['channel']}: " if "channel" in event.data else ""
                    line = f"[{clock(event.data['start'])}] {channel}{printable(event.data['text'])}"
                    if sys.stdout.isatty():
                        row.say(line)
                    else:
                        print(line, flush=True)
        except ClientError as error:  # the job itself goes on
            row.note(f"no more live text: {error.message}")

    def _failed(self, row: Row, message: str, code: int) -> list[Path]:
        row.failed(message)
        self.exit_code = max(self.exit_code, code)
        return []


def wire_options(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments as the API's options; what was not given is left to the worker."""
    names = (
        *("model", "language", "languages", "task", "prompt", "keywords", "temperature", "beamSize"),
        *("diarizationEnabled", "channels", "start", "end", "ranges"),
    )
    named = {name: getattr(args, name) for name in names}
    if args.known_speaker:
        named["knownSpeakerNames"] = [name for name, _ in args.known_speaker]
    return {k: v for k, v in {**named, "outputs": args.outputs, **dict(args.option)}.items() if v is not None}


def _keywords(text: str) -> list[str]:
    """ "Ann, Bob" -> ["Ann", "Bob"]; "@names.txt" -> the lines of that file."""
    if text.startswith("@"):
        try:
            text = Path(text[1:]).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise argparse.ArgumentTypeError(f"{text[1:]} cannot be read: {reason}") from None
    return [word.strip() for word in text.replace("\n", ",").split(",") if word.strip()]


def _formats(text: str) -> list[str]:
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in {item.value for item in OutputFormat}:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(item.value for item in OutputFormat)}")
    return names


def _known_speaker(text: str) -> tuple[str, Path | None]:
    """ "Anna=anna.wav" -> ("Anna", anna.wav); a name alone is that of a stored voice."""
    name, _, path = text.partition("=")
    return name, Path(path) if path else None


def _option(text: str) -> tuple[str, Any]:
    """ "beamSize=5" -> ("beamSize", 5); what is no JSON is taken as text."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
