"""`btworker jobs name|export`: people's names for speakers, and transcripts with them in any format."""

import argparse
from pathlib import Path
from typing import Any

from btworker.cli.connection import EXIT_USAGE, report, with_client
from btworker.cli.saving import replaced, trouble_with
from btworker.cli.wording import printable
from btworker.client import Client, Job
from btworker.jobs import OutputFormat

FORMATS = [kind.value for kind in OutputFormat]


def add_name_arguments(parser: argparse.ArgumentParser) -> None:
    """Which speakers of which input, and their names."""
    parser.add_argument("id", metavar="ID", help="a job's id, like wk_0123456789abcdef")
    wanted = "like SPEAKER_00=Anna; without a name it is taken away"
    parser.add_argument("names", nargs="+", type=_name, metavar="SPEAKER=NAME", help=wanted)
    parser.add_argument("--input", type=int, metavar="N", help="which input, from 0; needed where there are several")


def add_export_arguments(parser: argparse.ArgumentParser) -> None:
    """Which formats, and where they go."""
    parser.add_argument(
        "--formats", type=_formats, default=["docx"], metavar="LIST", help=f"any of {','.join(FORMATS)} (docx)"
    )
    parser.add_argument("--output-dir", type=Path, default=Path(), metavar="DIR", help="where they go (here)")
    parser.add_argument("--raw", action="store_true", help="as the engine left them, without corrections")


def name_speakers(args: argparse.Namespace) -> int:
    """Give speakers their names."""

    async def work(client: Client) -> int:
        job = await client.job(args.id)
        if args.input is None and len(job.inputs) > 1:
            report(f"the job has {len(job.inputs)} inputs, each with speakers of its own: say which with --input")
            return EXIT_USAGE
        edits = [
            {"op": "name", "input": args.input or 0, "speaker": speaker, "name": name or None}
            for speaker, name in args.names
        ]
        change = await client.transcripts.correct(args.id, edits)
        report(f"{args.id}: version {change['version']}; btworker jobs export {args.id} has the names")
        return 0

    return with_client(args, work)


async def export(client: Client, job: Job, args: argparse.Namespace) -> int:
    """Save a job's transcripts in each format; the paths go to stdout."""
    for index in range(len(job.inputs)):
        for kind in args.formats:
            path = await client.transcripts.save(
                job.id, kind, args.output_dir, index=index, corrected=not args.raw, on_replaced=replaced(report)
            )
            print(path)
    return 0


def export_trouble(args: argparse.Namespace) -> int:
    """Why nothing can be saved, as an exit code; 0 where it can."""
    if trouble := trouble_with(args.output_dir):
        report(trouble)
        return EXIT_USAGE
    return 0


def _name(text: str) -> tuple[str, str]:
    speaker, equals, name = text.partition("=")
    if not speaker or not equals:
        raise argparse.ArgumentTypeError(f"{printable(text)!r} is not SPEAKER=NAME, like SPEAKER_00=Anna")
    return speaker, name


def _formats(text: str) -> list[str]:
    wanted = [part.strip().lower() for part in text.split(",") if part.strip()]
    unknown: Any = next((part for part in wanted if part not in FORMATS), None if wanted else text)
    if unknown is not None:
        raise argparse.ArgumentTypeError(f"{printable(unknown)!r} is no format; there are {', '.join(FORMATS)}")
    return list(dict.fromkeys(wanted))
