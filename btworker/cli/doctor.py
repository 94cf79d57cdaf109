"""`btworker doctor`: looks at everything that a worker needs on this machine, and says how to mend what is wrong.

The checks are in the two modules beside this one; this one runs them and prints the table.
"""

import argparse
import json
from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from btworker.cli.checks import Check, Verdict, box_checks, package_checks
from btworker.cli.gpu_check import gpu_checks
from btworker.cli.tables import print_table
from btworker.config import Settings, load_settings, unknown_names
from btworker.errors import StartupError

EPILOG = "Reads the same WORKER_* variables as `btworker serve`. Exit code 1 when a check fails."
STYLES = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"}


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Only how to print."""
    parser = subparsers.add_parser(
        "doctor",
        description="Check ffmpeg, packages, model, GPU, disk, settings and port of this machine.",
        epilog=EPILOG,
    )
    parser.add_argument("--json", action="store_true", help="print the checks as a JSON list")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run all checks; 1 when one fails."""
    checks = list(all_checks())
    if args.json:
        print(json.dumps([check.wire() for check in checks], ensure_ascii=False, indent=2))
    else:
        print_table(_table(checks))
        print(_verdict(checks))
    return int(any(check.verdict is Verdict.FAIL for check in checks))


def all_checks() -> Iterator[Check]:
    """Every check, cheapest first; those that need settings use defaults where the settings are wrong."""
    yield from package_checks()
    settings, problems = _settings()
    yield problems
    yield from box_checks(settings)
    yield from gpu_checks(settings)


def _settings() -> tuple[Settings, Check]:
    """The settings, and whether they would start a worker."""
    try:
        settings = load_settings()
        if unknown := unknown_names():
            found = f"{', '.join(unknown)}: no setting of btworker, without effect"
            return settings, Check("settings", Verdict.WARN, found, "see docs/configuration.md for the names")
        return settings, Check("settings", Verdict.OK, "WORKER_TOKEN is set, and all others are valid")
    except StartupError as error:
        problem = "; ".join(line.strip(" -") for line in error.message.splitlines()[1:])
    mend = "python -c 'import secrets; print(secrets.token_urlsafe())' makes a good token" if "TOKEN" in problem else ""
    check = Check("settings", Verdict.FAIL, problem, mend or "see docs/configuration.md")
    try:
        return load_settings(WORKER_TOKEN="unused", WORKER_TOKEN_FILE=None), check  # noqa: S106 - stands for the missing
    except StartupError:
        return Settings.model_construct(), check


def _table(checks: list[Check]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column("verdict", no_wrap=True)
    table.add_column("what", no_wrap=True)
    table.add_column("found", overflow="fold")
    for check in checks:
        found = Text(check.found)
        if check.mend:
            found.append(f"\n→ {check.mend}", "italic")
        table.add_row(Text(check.verdict.value, STYLES[check.verdict]), check.name, found)
    return table


def _verdict(checks: list[Check]) -> str:
    failed = sum(check.verdict is Verdict.FAIL for check in checks)
    warned = sum(check.verdict is Verdict.WARN for check in checks)
    if failed:
        return f"\n{failed} of {len(checks)} checks failed."
    return f"\nThis machine can run a worker{f', with {warned} warning(s)' if warned else ''}."
