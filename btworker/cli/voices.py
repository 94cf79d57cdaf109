"""`btworker voices list|add|rm`: people whom a worker's jobs may know by name."""

import argparse
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from btworker.cli.connection import add_server_arguments, exit_code, report, with_client
from btworker.cli.tables import print_table
from btworker.cli.wording import printable
from btworker.client import Client, ClientError

EXAMPLES = """\
examples:
  btworker voices add "Anna Smith" anna.wav
  btworker transcribe meeting.m4a --known-speaker "Anna Smith"
  btworker voices rm "Anna Smith"
"""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Three actions."""
    parser = subparsers.add_parser("voices", description="Look after a worker's stored voices.", epilog=EXAMPLES)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    _action(actions, "list", "list the stored voices", list_voices)
    adding = _action(actions, "add", "store a voice", add_voice)
    adding.add_argument("name", metavar="NAME", help="what this person is called in transcripts")
    adding.add_argument("file", type=Path, metavar="FILE", help="2 to 30 s in which that person alone speaks")
    _action(actions, "rm", "delete stored voices", remove_voices).add_argument(
        "voices", nargs="+", metavar="NAME", help="a name, or an id"
    )


def _action(actions: Any, name: str, text: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=f"{text.capitalize()}.")
    add_server_arguments(parser)
    parser.set_defaults(run=run)
    return parser


def list_voices(args: argparse.Namespace) -> int:
    """A table on stdout."""

    async def work(client: Client) -> int:
        voices = await client.voices()
        table = Table(box=None, pad_edge=False)
        for column in ("id", "name", "stored", "seconds"):
            table.add_column(column)
        for one in voices:
            table.add_row(*(Text(printable(str(one[key]))) for key in ("id", "name", "createdAt", "seconds")))
        if voices:
            print_table(table)
        else:
            report("no voices")
        return 0

    return with_client(args, work)


def add_voice(args: argparse.Namespace) -> int:
    """Store one; its id on stdout."""

    async def work(client: Client) -> int:
        print((await client.add_voice(args.name, args.file))["id"])
        return 0

    return with_client(args, work)


def remove_voices(args: argparse.Namespace) -> int:
    """Delete each; the worst exit code."""

    async def work(client: Client) -> int:
        ids = {one["name"]: one["id"] for one in await client.voices()}
        code = 0
        for name in args.voices:
            try:
                await client.delete_voice(ids.get(name, name))
            except ClientError as error:
                report(f"{printable(name)}: {error.message}")
                code = max(code, exit_code(error))
        return code

    return with_client(args, work)
