"""`btworker restore FOLDER`: a worker that is stopped gets its jobs back from a backup. Nothing is deleted."""

import argparse
import os
import sqlite3
from pathlib import Path

from btworker.backup import TABLE, Restored, backups, restore
from btworker.cli.backup import EPILOG, add_data_argument, report_incomplete
from btworker.config import data_dir
from btworker.errors import EXIT_DATA_FOLDER, EXIT_DATABASE, StartupError
from btworker.storage import DataFolder


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Where from."""
    parser = subparsers.add_parser(
        "restore",
        description="Give the worker of this machine, which has to be stopped, the job table of a backup and the files "
        "that its jobs lack. The table that was there, and files of other jobs, are put aside and not deleted.",
        epilog=EPILOG,
    )
    parser.add_argument(
        "folder", type=Path, metavar="FOLDER", help="a backup, or a folder with backups, of which the newest is taken"
    )
    add_data_argument(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Restore one backup; returns the exit code. Raises StartupError."""
    root = data_dir(args.data)
    backup = _backup(args.folder)
    data = DataFolder.open(root)
    try:
        check_owner(root, "restore …")
        found = restore(backup, data)
    except sqlite3.DatabaseError as error:
        message = f"{backup / TABLE} is damaged or not a backup of btworker ({error}); nothing was changed"
        raise StartupError(message, exit_code=EXIT_DATABASE) from None
    except OSError as error:
        message = (
            f"{error.filename or root}: {(error.strerror or str(error)).lower()}; the table that was there is still in "
            "use: mend that, then try again"
        )
        raise StartupError(message, exit_code=EXIT_DATA_FOLDER) from None
    finally:
        data.close()
    _report(backup, root, found)
    return report_incomplete(found.incomplete)


def _backup(folder: Path) -> Path:
    """The folder itself, or the newest backup in it. Raises StartupError."""
    path = Path(os.path.abspath(folder.expanduser()))
    if (path / TABLE).is_file():
        return path
    if not (there := backups(path)):
        raise StartupError(f"there is no backup in {path}", exit_code=EXIT_DATA_FOLDER)
    return there[-1]


def check_owner(root: Path, command: str) -> None:
    """Files that another user makes are files that the worker cannot change. Raises StartupError."""
    owner = root.stat().st_uid
    if owner != os.geteuid():
        message = f"{root} belongs to user {owner}: do this as that user, by `sudo -u '#{owner}' btworker {command}`"
        raise StartupError(message, exit_code=EXIT_DATA_FOLDER)


def _report(backup: Path, root: Path, found: Restored) -> None:
    print(f"{root}: {found.jobs} jobs from {backup}")
    if found.earlier_table is not None:
        print(f"the table that was there is {found.earlier_table}")
    if found.aside is not None:
        print(f"files of a later state of the same jobs are in {found.aside}")
    print("the next start puts the files of jobs aside that the backup does not know, and says where")
