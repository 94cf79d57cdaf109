"""`btworker models list`: which models jobs may ask for, here by the settings or on a running worker."""

import argparse

from btworker.cli.connection import add_server_arguments, with_client
from btworker.cli.model_files import describe, model_files
from btworker.cli.wording import printable
from btworker.client import Client
from btworker.config import load_settings


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`list` is the one action so far."""
    parser = subparsers.add_parser("models", description="Show the models that jobs may ask for.")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser(
        "list",
        help="list the models",
        description="List the models that this machine's settings allow, and where each one is; "
        "with --server, the ones that a running worker offers.",
    )
    add_server_arguments(listing)
    listing.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """One model a line."""
    if args.server:
        return with_client(args, _offered)
    settings = load_settings(WORKER_TOKEN="unused")  # noqa: S106 - no server is started: none is needed
    for model in model_files(settings):
        default = " (default)" if model.name == settings.model else ""
        print(f"{model.name:<16} {describe(model, offline=settings.offline)}{default}")
    return 0


async def _offered(client: Client) -> int:
    for name in (await client.ping()).get("models", ()):
        print(printable(str(name)))
    return 0
