"""`btworker fleet list|drain|resume`: the boxes of this machine's worker, which has to run with WORKER_POOL=ray."""

import argparse
import json
import sys
from typing import Any

from rich.table import Table

from btworker.cli.backup import add_data_argument
from btworker.cli.connection import EXIT_JOB_FAILED, report
from btworker.cli.tables import print_table
from btworker.config import data_dir
from btworker.control import NoAnswerError, ask

EXAMPLES = """\
examples:
  btworker fleet list
  btworker fleet drain gpu-2     no new jobs; those there go on elsewhere
  btworker fleet resume gpu-2
"""
ANSWER_S = 30.0
NO_FLEET = "no worker with WORKER_POOL=ray runs at {root}: start it, or name its data folder with --data"


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Three actions."""
    parser = subparsers.add_parser(
        "fleet",
        description="Look after the boxes of this machine's worker (docs/fleet.md). A box that is drained gets no new "
        "jobs, also after a restart of the worker, until it is resumed. Those that it has go on elsewhere after the "
        "window at work; where no other box takes jobs, they come to their end.",
        epilog=EXAMPLES,
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, text in (
        ("list", "list the boxes, and what is wrong with them"),
        ("drain", "give a box no new jobs"),
        ("resume", "give a drained box jobs again"),
    ):
        action = actions.add_parser(name, help=text, description=text)
        add_data_argument(action)
        if name == "list":
            action.add_argument("--json", action="store_true", help="print what the worker answers")
        else:
            action.add_argument("box", metavar="BOX", help="its name, as `btworker fleet list` has it")
        action.set_defaults(run=run, action=name)


def run(args: argparse.Namespace) -> int:
    """Ask the worker, and show the boxes. Returns the exit code."""
    answer = _ask(args, {"action": args.action, "box": getattr(args, "box", "")})
    if getattr(args, "json", False):
        print(json.dumps(answer))
        return 0
    table = Table(box=None, pad_edge=False)
    for column in ("BOX", "STATE", "WORKERS", "SLOTS", "JOBS", "PROBLEM"):
        table.add_column(column, no_wrap=column != "PROBLEM", overflow="fold")
    for box in answer["boxes"]:
        ready = f"{box['ready']}/{box['workers']}"
        table.add_row(box["box"], box["status"], ready, str(box["slots"]), str(box["jobs"]), box["problem"])
    if answer["boxes"]:
        print_table(table)
    if answer["problem"]:
        print(answer["problem"])
    absent = sorted(set(answer["drained"]) - {box["box"] for box in answer["boxes"]})
    if absent:
        print(f"drained, and not there: {', '.join(absent)}")
    return 0


def _ask(args: argparse.Namespace, request: dict[str, Any]) -> dict[str, Any]:
    root = data_dir(args.data)
    try:
        answer = ask(root, "fleet", request, timeout_s=ANSWER_S)
    except NoAnswerError:
        answer = {"error": NO_FLEET.format(root=root)}
    if "error" in answer:
        report(str(answer["error"]))
        sys.exit(EXIT_JOB_FAILED)
    return answer
