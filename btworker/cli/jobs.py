"""`btworker jobs list|show|cancel|rm|fetch|name|export`: looking after the jobs of a worker."""

import argparse
import json
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from btworker.cli import corrections
from btworker.cli.board import STAGES, summary, wait
from btworker.cli.connection import (
    EXIT_JOB_FAILED,
    EXIT_USAGE,
    add_server_arguments,
    exit_code,
    report,
    with_client,
)
from btworker.cli.saving import save_outputs, trouble_with
from btworker.cli.tables import print_facts, print_table
from btworker.cli.wording import clock, megabytes, printable
from btworker.client import Client, ClientError, Job
from btworker.jobs import JobStatus

EXAMPLES = """\
examples:
  btworker jobs list --status failed
  btworker jobs show wk_0123456789abcdef
  btworker jobs fetch wk_0123456789abcdef --output-dir transcripts
  btworker jobs name wk_0123456789abcdef SPEAKER_00=Anna SPEAKER_01=Ben
  btworker jobs export wk_0123456789abcdef --formats docx,srt
"""
PAGE_LIMIT = 200
STYLES = {JobStatus.COMPLETE: "green", JobStatus.FAILED: "red", JobStatus.RUNNING: "cyan"}
Work = Callable[[Client, str], Awaitable[int]]
"""What is done for one job; the exit code that it alone would have."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """One level more: what to do with the jobs."""
    parser = subparsers.add_parser("jobs", description="Look after the jobs of a worker.", epilog=EXAMPLES)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = _action(actions, "list", "list jobs, newest first", list_jobs, ids=False)
    listing.add_argument("--status", choices=[item.value for item in JobStatus], help="only jobs in this state")
    listing.add_argument("--search", metavar="WORDS", help="only jobs with these words in names, texts or corrections")
    listing.add_argument("--limit", type=_count, default=20, metavar="N", help="at most so many (20)")
    listing.add_argument("--json", action="store_true", help="the jobs as the API gives them")
    show = _action(actions, "show", "show all that is known of jobs", show_jobs)
    show.add_argument("--json", action="store_true", help="the jobs as the API gives them")
    _action(actions, "cancel", "stop jobs that wait or run", cancel_jobs)
    _action(actions, "rm", "delete jobs that have ended, with their files", remove_jobs)
    fetch = _action(actions, "fetch", "save the results of jobs", fetch_jobs)
    fetch.add_argument("--output-dir", type=Path, default=Path(), metavar="DIR", help="where they go (here)")
    corrections.add_name_arguments(
        _action(actions, "name", "give speakers their names", corrections.name_speakers, ids=False)
    )
    corrections.add_export_arguments(
        _action(actions, "export", "save transcripts, as they are corrected, in any format", export_jobs)
    )


def _action(actions: Any, name: str, text: str, run: Any, *, ids: bool = True) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=f"{text.capitalize()}.")
    if ids:
        parser.add_argument("ids", nargs="+", metavar="ID", help="a job's id, like wk_0123456789abcdef")
    add_server_arguments(parser)
    parser.set_defaults(run=run)
    return parser


def list_jobs(args: argparse.Namespace) -> int:
    """A table of jobs on stdout."""

    async def work(client: Client) -> int:
        status = args.status and JobStatus(args.status)
        jobs: list[Job] = []
        cursor: str | None = None
        while len(jobs) < args.limit:
            limit = min(PAGE_LIMIT, args.limit - len(jobs))
            page = await client.jobs(status=status, limit=limit, cursor=cursor, q=args.search)
            jobs += page.jobs
            cursor = page.cursor
            if cursor is None:
                break
        if args.json:
            _print_json([job.raw for job in jobs])
        elif jobs:
            print_table(_table(jobs))
        else:
            report("no jobs")
        return 0

    return with_client(args, work)


def show_jobs(args: argparse.Namespace) -> int:
    """Each job with its inputs, results, warnings and log."""

    jobs: list[Job] = []

    async def look(client: Client, job_id: str) -> int:
        jobs.append(await client.job(job_id))
        return 0

    code = _for_each(args, look)
    if args.json and jobs:
        _print_json([job.raw for job in jobs])
    for job in [] if args.json else jobs:
        print_facts([(name, printable(value)) for name, value in _description(job) if value])
    return code


def cancel_jobs(args: argparse.Namespace) -> int:
    """Ask for each job's end."""

    async def cancel(client: Client, job_id: str) -> int:
        await client.cancel(job_id)
        report(f"{job_id}: cancel requested")
        return 0

    return _for_each(args, cancel)


def remove_jobs(args: argparse.Namespace) -> int:
    """Delete each job."""

    async def remove(client: Client, job_id: str) -> int:
        await client.delete(job_id)
        report(f"{job_id}: deleted")
        return 0

    return _for_each(args, remove)


def fetch_jobs(args: argparse.Namespace) -> int:
    """Save each job's results; the paths go to stdout."""
    if trouble := trouble_with(args.output_dir):
        report(trouble)
        return EXIT_USAGE

    async def fetch(client: Client, job_id: str) -> int:
        job = await client.job(job_id)
        for path in await save_outputs(client, job, args.output_dir, report):
            print(path)
        if job.status is JobStatus.COMPLETE:
            return 0
        why = f": {job.error_message}" if job.error_message else ", and has no results yet" * (not job.status.finished)
        report(printable(f"{job_id}: is {job.status.value}{why}"))
        return EXIT_JOB_FAILED

    return _for_each(args, fetch)


def export_jobs(args: argparse.Namespace) -> int:
    """Save each job's transcripts; the paths go to stdout."""

    async def export(client: Client, job_id: str) -> int:
        return await corrections.export(client, await client.job(job_id), args)

    return corrections.export_trouble(args) or _for_each(args, export)


def _for_each(args: argparse.Namespace, work: Work) -> int:
    """Do it for every id; one that is refused does not stop the others. The worst exit code."""

    async def each(client: Client) -> int:
        code = 0
        for job_id in args.ids:
            try:
                code = max(code, await work(client, job_id))
            except ClientError as error:
                if error.status is None or error.status == 401:
                    raise
                report(f"{printable(job_id)}: {error.message}")
                code = max(code, exit_code(error))
        return code

    return with_client(args, each)


def _table(jobs: list[Job]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("job", "created", "state"):
        table.add_column(name, no_wrap=True)
    table.add_column("audio", justify="right", no_wrap=True)
    table.add_column("files")  # the one that gives way on a narrow terminal
    for job in jobs:
        state = Text(_state(job), STYLES.get(job.status, ""))
        audio_s = sum(item.duration_s or 0.0 for item in job.inputs)
        files = Text(_files(job), no_wrap=True, overflow="ellipsis")
        table.add_row(job.id, _local(job.created_at), state, clock(audio_s) if audio_s else "", files)
    return table


def _state(job: Job) -> str:
    if job.status is JobStatus.RUNNING:
        return f"{STAGES.get(job.stage, job.stage)} {job.progress.percent:.0f} %"
    if job.status is JobStatus.FAILED and job.error_code:
        return f"failed: {job.error_code}"
    return str(job.status.value)


def _files(job: Job) -> str:
    return ", ".join(printable(item.filename) for item in job.inputs)


def _description(job: Job) -> Iterator[tuple[str, str]]:
    """What `jobs show` prints, by name."""
    yield "job", f"{job.id}  {_state(job)}"
    yield "created", _local(job.created_at)
    yield "waits for", wait(job) if job.status is JobStatus.QUEUED else ""
    yield "model", job.model
    yield "attempt", str(job.attempt) if job.attempt > 1 else ""
    yield "GPU", job.gpu or ""
    yield "took", summary(job)
    yield "error", f"{job.error_message} ({job.error_code})" if job.error_code else ""
    for item in job.inputs:
        audio = f", {clock(item.duration_s)}" if item.duration_s else ""
        yield "input", f"{item.filename} ({megabytes(item.size_bytes)}{audio})"
    for output in job.outputs:
        yield "result", f"{output.filename} ({output.size_bytes:,} bytes)"
    for text in job.warnings:
        yield "warning", text
    for line in job.logs:
        yield "log", f"{_local_time(line.at)} {line.message}"


def _local(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M}"


def _local_time(moment: str) -> str:
    """RFC 3339 as a time of the day here; what is none stays as it is."""
    try:
        return f"{datetime.fromisoformat(moment.replace('Z', '+00:00')).astimezone():%H:%M:%S}"
    except ValueError:
        return moment


def _print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2))


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 100000")
    return int(text)
