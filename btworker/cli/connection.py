"""Which worker a command talks to, and what happens when it does not answer: the edge between commands and client."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from btworker.client import Client, ClientError
from btworker.client.errors import BAD_FILE, NOT_SAVED
from btworker.config import ClientSettings, load_client_settings

EXIT_JOB_FAILED = 1
EXIT_USAGE = 2
EXIT_SERVER = 3


def add_server_arguments(parser: argparse.ArgumentParser) -> None:
    """--server and --token-file; the token itself is no argument, since everyone on the machine can read those."""
    group = parser.add_argument_group("worker")
    group.add_argument("--server", metavar="URL", help="the worker's address, like http://gpu-box:8477 (or WORKER_URL)")
    group.add_argument("--token-file", metavar="FILE", type=Path, help="file with the token (or WORKER_TOKEN)")


def names_server(args: argparse.Namespace) -> bool:
    """Whether the arguments or the environment say which worker to talk to."""
    return bool(args.server or client_settings().url)


def client_settings(**overrides: Any) -> ClientSettings:
    """What the environment says, and what is said otherwise here. Raises StartupError."""
    return load_client_settings(**overrides)


def with_client(args: argparse.Namespace, work: Callable[[Client], Awaitable[int]]) -> int:
    """Run `work` with a client of the worker that the arguments or the environment name; its exit code."""
    settings = client_settings(
        **({"WORKER_TOKEN_FILE": args.token_file, "WORKER_TOKEN": ""} if args.token_file else {})
    )
    url = args.server or settings.url
    try:
        token = settings.first_token
    except ValueError as error:
        return _stop(str(error), EXIT_USAGE)
    if not url:
        return _stop("which worker? Set WORKER_URL, or say --server http://host:8477", EXIT_USAGE)
    if not token:
        return _stop("the worker wants a token: set WORKER_TOKEN to the worker's own, or say --token-file", EXIT_USAGE)
    try:
        return asyncio.run(_run(url, token, work))
    except ClientError as error:
        if error.status == 401:
            message = "WORKER_TOKEN must be its own, or that of a key"
            return _stop(f"the worker at {url} does not know this token ({error.message}): {message}", EXIT_SERVER)
        return _stop(error.message, exit_code(error))


def exit_code(error: ClientError) -> int:
    """A local file that cannot be read is the caller's mistake; everything else is between us and the worker."""
    return EXIT_USAGE if error.code in (BAD_FILE, NOT_SAVED) else EXIT_SERVER


def report(message: str) -> None:
    """One line for the person, apart from the results on stdout."""
    print(f"btworker: {message}", file=sys.stderr)


async def _run(url: str, token: str, work: Callable[[Client], Awaitable[int]]) -> int:
    async with Client(url, token) as client:
        return await work(client)


def _stop(message: str, code: int) -> int:
    report(message)
    return code
