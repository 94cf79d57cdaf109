"""`btworker transcribe`: recordings go to a worker, one job each, and the transcripts come into a folder.

Uploads go one after the other (they share one network), the worker queues the jobs, each is fetched when it is done.
One that fails does not stop the others. Paths of the results go to stdout, everything else to stderr.
"""

import argparse
import asyncio
import json
import mimetypes
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from btworker.cli.board import NewRow, Row, board, summary
from btworker.cli.connection import EXIT_USAGE, add_server_arguments, exit_code, say, with_client
from btworker.cli.main import WideHelp
from btworker.cli.wording import clock, printable
from btworker.client import Client, ClientError, Job
from btworker.client.errors import UNREACHABLE
from btworker.jobs import JobStatus, OutputFormat, unique_stems

EXAMPLES = """\
examples:
  btworker transcribe talk.mp3
  btworker transcribe interviews/ --live
  btworker transcribe *.m4a --language en --formats md,srt --output-dir transcripts
  btworker transcribe call.wav --model large-v3 --prompt "Names: Ada, Grace" --option beamSize=5
"""
EXIT_JOB_FAILED = 1
MORE_MEDIA = (".opus", ".ogg", ".oga", ".m4a", ".mka", ".mkv", ".flac", ".amr", ".wma", ".webm", ".aac", ".caf")
"""Suffixes that not every system's table of types has."""
HOPELESS = frozenset({UNREACHABLE, "UNAUTHORIZED", "DRAINING"})
"""What the next file would meet as well."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Files, what to ask of the worker, and where the results go."""
    parser = subparsers.add_parser(
        "transcribe",
        description="Send recordings to a worker, one job for each, and save the transcripts.",
        epilog=EXAMPLES,
        formatter_class=WideHelp,
    )
    what = "a recording (anything that ffmpeg reads), or a folder: all that is named like one in it"
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help=what)
    speech = parser.add_argument_group("speech (the worker's defaults unless given)")
    speech.add_argument("--model", help="one of the worker's models (btworker models list --server URL)")
    speech.add_argument("--language", metavar="CODE", help="what is spoken, like en or german; detected unless given")
    speech.add_argument("--translate", dest="task", action="store_const", const="translate", help="into English")
    speech.add_argument("--prompt", metavar="TEXT", help="names and words that may come up, or the text before")
    speech.add_argument("--temperature", type=float, metavar="T", help="0 to 1; without it, 0 and higher where 0 fails")
    speech.add_argument("--beam-size", type=int, metavar="N", dest="beamSize", help="beams; greedy unless given")
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
    files: list[Path] = []
    for path in args.files:
        found = recordings(path)
        if not found:
            say(f"{path} {_why_none(path)}")
            return EXIT_USAGE
        files += found
    args.files = list(dict.fromkeys(files))
    batch = Batch(args)
    try:
        return with_client(args, batch.run)
    finally:
        if batch.unfinished:
            ids = " ".join(batch.unfinished)
            say(f"the worker goes on with {ids} (later: btworker jobs fetch ID, or jobs cancel ID)")


def recordings(path: Path) -> list[Path]:
    """The file itself; of a folder, everything below it whose name says that it is sound or video, in order."""
    if not path.is_dir():
        return [path] if path.is_file() else []
    names = (Path(folder) / name for folder, _, names in os.walk(path) for name in names)
    return sorted(file for file in names if _is_media(file.name) and file.is_file())


def _is_media(name: str) -> bool:
    kind = mimetypes.guess_type(name)[0] or ""
    return not name.startswith(".") and (kind.startswith(("audio/", "video/")) or name.lower().endswith(MORE_MEDIA))


def _why_none(path: Path) -> str:
    if path.is_dir():
        return "has no recordings in it"
    return "is no regular file" if path.exists() else "does not exist"


@dataclass
class Batch:
    """All recordings of one command."""

    args: argparse.Namespace
    jobs: list[Job] = field(default_factory=list)
    unfinished: set[str] = field(default_factory=set)
    """Jobs that the worker has accepted and that have not ended."""
    exit_code: int = 0

    async def run(self, client: Client) -> int:
        """Every recording; the worst exit code."""
        one_upload = asyncio.Lock()
        with board(rows=len(self.args.files)) as new_row:
            folders = _folders(self.args.files, self.args.output_dir)
            saved = await asyncio.gather(
                *(self._one(client, new_row, path, folder, one_upload) for path, folder in folders)
            )
        if self.args.json:
            print(json.dumps([job.raw for job in self.jobs], ensure_ascii=False, indent=2))
        else:
            for path in (path for paths in saved for path in paths):
                print(path)
        return self.exit_code

    async def _one(self, client: Client, new_row: NewRow, path: Path, folder: Path, turn: asyncio.Lock) -> list[Path]:
        async with turn:
            row = new_row(path.name)
            try:
                options = wire_options(self.args)
                job = await client.send(path, options, on_progress=row.sending, on_job=self.unfinished.add)
            except ClientError as error:
                if error.code in HOPELESS:
                    raise
                return self._failed(row, error.message, exit_code(error))
        try:
            return await self._follow(client, row, job, folder)
        except ClientError as error:
            return self._failed(row, error.message, exit_code(error))

    async def _follow(self, client: Client, row: Row, job: Job, folder: Path) -> list[Path]:
        self.unfinished.add(job.id)
        live = asyncio.create_task(self._say_live(client, row, job.id)) if self.args.live else None
        job = await client.wait(job.id, on_update=row.working)
        if live is not None:
            await live
        self.unfinished.discard(job.id)
        self.jobs.append(job)
        if job.status is not JobStatus.COMPLETE:
            return self._failed(row, job.error_message or f"the job was {job.status.value}", EXIT_JOB_FAILED)
        paths = [await client.download(job.id, item.filename, folder, sha256=item.sha256) for item in job.outputs]
        row.done(summary(job))
        for warning in job.warnings:
            row.note(f"warning: {warning}")
        if self.args.delete:
            await client.delete(job.id)
        return paths

    async def _say_live(self, client: Client, row: Row, job_id: str) -> None:
        """Each segment as it comes: on stdout for other programs, above the progress bars for people."""
        try:
            async for event in client.events(job_id):
                if event.name == "segment":
                    line = f"[{clock(event.data['start'])}] {printable(event.data['text'])}"
                    if sys.stdout.isatty():
                        row.note(line)
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
    named = {name: getattr(args, name) for name in ("model", "language", "task", "prompt", "temperature", "beamSize")}
    return {k: v for k, v in {**named, "outputs": args.outputs, **dict(args.option)}.items() if v is not None}


def _folders(files: list[Path], output_dir: Path) -> list[tuple[Path, Path]]:
    """Each file with the folder of its results: a folder of its own for one whose results' names are taken."""
    stems = unique_stems([path.name for path in files])
    alone = [unique_stems([path.name])[0] for path in files]
    return [
        (path, output_dir if stem == first else output_dir / stem)
        for path, stem, first in zip(files, stems, alone, strict=True)
    ]


def _formats(text: str) -> list[str]:
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in {item.value for item in OutputFormat}:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(item.value for item in OutputFormat)}")
    return names


def _option(text: str) -> tuple[str, Any]:
    """ "beamSize=5" -> ("beamSize", 5); what is no JSON is taken as text."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
