"""`btworker doctor`: looks at everything that a worker needs on this machine, and says how to mend what is wrong.

The checks are in the modules beside this one; this one runs them and prints the table.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.table import Table
from rich.text import Text

from btworker.cli.checks import Check, Verdict, box_checks, package_checks
from btworker.cli.fleet_checks import fleet_checks
from btworker.cli.gpu_check import gpu_checks
from btworker.cli.store_checks import store_checks
from btworker.cli.tables import print_table
from btworker.config import Settings, load_settings, unknown_names
from btworker.config.environment_file import unit_environment
from btworker.config.server import NEW_TOKEN, SHORT_TOKEN
from btworker.errors import EXIT_BAD_SETTINGS, StartupError

EPILOG = "Reads the same WORKER_* variables as `btworker serve`. Exit code 1 when a check fails."
STYLES = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"}


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Only how to print."""
    parser = subparsers.add_parser(
        "doctor",
        description="Check ffmpeg, packages, model, GPU, disk, settings, ports, stores and fleet of this machine.",
        epilog=EPILOG,
    )
    parser.add_argument("--json", action="store_true", help="print the checks as a JSON list")
    parser.add_argument(
        "--env-file",
        type=Path,
        metavar="FILE",
        help="check what the systemd unit reads (/etc/btworker/btworker.env), and nothing of this shell's settings",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run all checks; 1 when one fails."""
    if args.env_file is not None:
        return _as_the_unit(args)
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
    yield from store_checks(settings)
    yield from fleet_checks(settings)


def _settings() -> tuple[Settings, Check]:
    """The settings, and whether they would start a worker."""
    try:
        settings = load_settings()
        return settings, _doubts(settings)
    except StartupError as error:
        problem = "; ".join(line.strip(" -") for line in error.message.splitlines()[1:])
    mend = NEW_TOKEN if "TOKEN" in problem else ""
    check = Check("settings", Verdict.FAIL, problem, mend or "see docs/configuration.md")
    try:
        return load_settings(WORKER_TOKEN="unused", WORKER_TOKEN_FILE=None), check  # noqa: S106 - stands for the missing
    except StartupError:
        return Settings.model_construct(), check


def _doubts(settings: Settings) -> Check:
    """What would start a worker, and is not meant so."""
    found, mend = [], []
    if settings.has_short_token:
        found.append(f"a token has fewer than {SHORT_TOKEN} characters: it can be guessed by trying")
        mend.append(NEW_TOKEN)
    if unknown := unknown_names():
        found.append(f"{', '.join(unknown)}: no setting of btworker, without effect")
        mend.append("see docs/configuration.md for the names")
    if found:
        return Check("settings", Verdict.WARN, "; ".join(found), "; ".join(mend))
    return Check("settings", Verdict.OK, "WORKER_TOKEN is set, and all others are valid")


def _as_the_unit(args: argparse.Namespace) -> int:
    """Run the same command with what systemd would give the service, and nothing of this shell's settings.

    Raises StartupError.
    """
    try:
        environment = unit_environment(args.env_file)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StartupError(f"{args.env_file} cannot be read: {reason}", exit_code=EXIT_BAD_SETTINGS) from None
    command = [sys.executable, "-m", "btworker", "doctor", *(["--json"] if args.json else [])]
    return subprocess.run(command, env=environment, check=False).returncode


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
