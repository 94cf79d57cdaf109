"""`btworker backup FOLDER`: the jobs of this machine's worker, whether it runs or not, in a new place in FOLDER."""

import argparse
import os
import shutil
import sqlite3
import sys
from pathlib import Path

from btworker.backup import TABLE, BusyError, back_up, backups, copy_of_idle
from btworker.cli.main import USAGE
from btworker.config import data_dir
from btworker.control import NoAnswerError, ask
from btworker.errors import EXIT_DATA_FOLDER, EXIT_DATABASE, StartupError
from btworker.storage import DataFolder

EPILOG = "What is in a backup, and what a restore does: docs/backup.md."
EXIT_INCOMPLETE = 1
COPY_TIMEOUT_S = 600.0
"""For the worker's copy of its table; a million jobs are 3 GB."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Where to, and how many to keep."""
    parser = subparsers.add_parser(
        "backup",
        description="Copy the jobs of this machine's worker, with inputs and results, to a new place in FOLDER. The "
        "worker may run, and works on. What an earlier backup in FOLDER has already takes no room again.",
        epilog=EPILOG,
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where backups are; made where it is missing")
    parser.add_argument("--keep", type=int, metavar="N", help="then delete all but the newest N backups in FOLDER")
    add_data_argument(parser)
    parser.set_defaults(run=run)


def add_data_argument(parser: argparse.ArgumentParser) -> None:
    """Whose jobs."""
    parser.add_argument("--data", type=Path, metavar="DIR", help="the worker's data folder (WORKER_DATA_DIR)")


def run(args: argparse.Namespace) -> int:
    """Make one backup; returns the exit code. Raises StartupError."""
    root = data_dir(args.data)
    folder = Path(os.path.abspath(args.folder.expanduser()))
    if args.keep is not None and args.keep < 1:
        return _refuse("--keep is a number from 1 on")
    if folder.is_relative_to(root) or root.is_relative_to(folder):
        return _refuse(f"{folder} and the data folder {root} lie in one another; a backup belongs on another disk")
    if not (root / TABLE).exists():
        raise StartupError(f"there is no job table in {root}: set WORKER_DATA_DIR", exit_code=EXIT_DATA_FOLDER)
    try:
        made = back_up(root, folder, lambda target: _copy_table(root, target))
    except BusyError:
        return _refuse(f"another backup to {folder} is being made")
    except sqlite3.DatabaseError as error:
        raise StartupError(f"the job table in {root} cannot be copied ({error})", exit_code=EXIT_DATABASE) from None
    except OSError as error:
        message = f"{error.filename or folder}: {(error.strerror or str(error)).lower()}; no backup was made"
        raise StartupError(message, exit_code=EXIT_DATA_FOLDER) from None
    for old in backups(folder)[: -args.keep if args.keep else 0]:
        shutil.rmtree(old)
    print(f"{made.path}: {made.jobs} jobs")
    return report_incomplete(made.incomplete)


def report_incomplete(job_ids: tuple[str, ...]) -> int:
    """Name the jobs whose files are not all there; the exit code."""
    if not job_ids:
        return 0
    print(f"without all of their files, which are not there: {' '.join(job_ids)}", file=sys.stderr)
    return EXIT_INCOMPLETE


def _copy_table(root: Path, target: Path) -> None:
    """Ask the worker for a copy of its table; where none has the folder, take one."""
    try:
        data = DataFolder.open(root)
    except StartupError as in_use:
        _ask_worker(root, target, in_use)
    else:
        try:
            copy_of_idle(data.database, target)
        finally:
            data.close()


def _ask_worker(root: Path, target: Path, in_use: StartupError) -> None:
    try:
        answer = ask(root, "backup", {}, timeout_s=COPY_TIMEOUT_S)
    except NoAnswerError as error:
        message = f"{in_use.message.split(';')[0]}, which does not answer ({error}): stop it, then try again"
        raise StartupError(message, exit_code=EXIT_DATA_FOLDER) from None
    if "error" in answer:
        raise StartupError(f"the worker could not copy its table: {answer['error']}", exit_code=EXIT_DATABASE)
    copied = root / Path(answer["table"]).name
    try:
        shutil.copyfile(copied, target)
    finally:
        copied.unlink()


def _refuse(message: str) -> int:
    print(f"btworker backup: {message}", file=sys.stderr)
    return USAGE
