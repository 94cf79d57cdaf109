"""`btworker serve`: settings are read, the data folder is locked, and the first children are spawned; only then comes
what else a server imports (serving.py), which takes as long as a child needs for half of torch.
"""

import argparse
import asyncio
import ctypes
import os
import signal
from collections.abc import Coroutine
from contextlib import closing
from pathlib import Path

from btworker import logs
from btworker.config import forget_credentials, load_settings, unknown_names
from btworker.config.server import NEW_TOKEN, SHORT_TOKEN
from btworker.pool.child import PR_SET_PDEATHSIG
from btworker.pool.supervisor import first_children
from btworker.specs import LogSettings
from btworker.storage import DataFolder

log = logs.get_logger()


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`btworker serve`; everything else is set by environment variables."""
    parser = subparsers.add_parser(
        "serve",
        help="run the worker",
        description="Run the worker until SIGTERM. Settings are environment variables (docs/configuration.md).",
    )
    parser.add_argument(
        "--ready-file", type=Path, help='write {"url", "pid"} to this file once the worker listens (for scripts)'
    )
    parser.add_argument(
        "--with-parent", type=int, metavar="PID", help="end, as by SIGTERM, when this parent process does"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal. Returns the exit code; raises StartupError."""
    if args.with_parent is not None:
        _end_with(args.with_parent)
    settings = load_settings()
    forget_credentials()
    logs.set_up(LogSettings(settings.log_level, json=logs.wants_json(settings.log_format)))
    for name in unknown_names():
        log.warning("unknown_setting", name=name, message=f"{name} is no setting of btworker: it has no effect")
    if settings.has_short_token:
        log.warning("short_token", message=f"a token has fewer than {SHORT_TOKEN} characters: {NEW_TOKEN}")
    folder = DataFolder.open(settings.data_dir, threads=settings.file_threads)
    with closing(folder) as data, first_children(settings) as children:
        from btworker.cli.serving import serve

        _run_loop(serve(settings, data, children, args.ready_file))
    return 0


def _end_with(parent_pid: int) -> None:
    """Whoever started this worker for itself may be killed without a word."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent_pid:  # it died before the line above could help
        raise SystemExit(0)


def _run_loop(main: Coroutine[None, None, None]) -> None:
    try:
        import uvloop
    except ImportError:  # not on every platform; only speed is lost
        asyncio.run(main)
    else:
        uvloop.run(main)
