"""`btworker usage`: what each key of a worker used on each day."""

import argparse
import csv
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from btworker.cli.connection import add_server_arguments, report, with_client
from btworker.cli.tables import print_table
from btworker.cli.wording import clock
from btworker.client import Client

EXAMPLES = """\
examples:
  btworker usage                                      the last 31 days
  btworker usage --from 2026-11-01 --to 2026-11-30 --csv > november.csv
"""


COLUMNS = ("day", "owner", "keyId", "jobs", "audioSeconds", "workSeconds", "gpuSeconds", "inputBytes")


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Which days, and how they are shown."""
    parser = subparsers.add_parser(
        "usage", description="Show what was used, by key and day (UTC): that of your key, or of all.", epilog=EXAMPLES
    )
    parser.add_argument("--from", dest="first", metavar="DAY", help="the first day, like 2026-11-01")
    parser.add_argument("--to", dest="last", metavar="DAY", help="the last day (today)")
    parser.add_argument("--csv", action="store_true", help="as CSV")
    add_server_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print a table, or CSV."""

    async def work(client: Client) -> int:
        days = await client.usage(first=args.first, last=args.last)
        if args.csv:
            writer = csv.DictWriter(sys.stdout, COLUMNS, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(days)
            return 0
        if days:
            print_table(table(days))
        else:
            report("nothing was used on these days")
        return 0

    return with_client(args, work)


def table(days: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each key and day; keys that have had the same name are told apart by their ids."""
    names = Counter(owner for owner, _ in {(one["owner"], one["keyId"]) for one in days})
    rows = Table(box=None, pad_edge=False)
    for column in ("day", "key", "jobs", "audio", "work", "of it on GPUs", "MB"):
        rows.add_column(column)
    for one in days:
        owner = one["owner"] if names[one["owner"]] == 1 else f"{one['owner']} ({one['keyId']})"
        times = (clock(one[name]) for name in ("audioSeconds", "workSeconds", "gpuSeconds"))
        rows.add_row(one["day"], owner, str(one["jobs"]), *times, f"{one['inputBytes'] / 2**20:.1f}")
    return rows
