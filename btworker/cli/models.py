"""`btworker models list | fetch | verify`: which models jobs may ask for, and the files behind them.

After `fetch` and `verify` a worker starts without a network. Nothing here loads a model.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from btworker import checkpoints
from btworker.checkpoints import (
    FetchError,
    Hub,
    HubModel,
    NotWhisperError,
    WrongContentError,
    damaged,
    file_hashes,
    file_sha256,
    forbids_commerce,
    look_into,
    sha256_of_all,
)
from btworker.cli.connection import EXIT_SERVER, EXIT_USAGE, add_server_arguments, names_server, report, with_client
from btworker.cli.model_files import ModelFile, describe, hub_file, model_files
from btworker.cli.wording import megabytes, printable
from btworker.client import Client
from btworker.config import Settings, load_settings
from btworker.errors import EXIT_BAD_SETTINGS

EXIT_WRONG = 1
SPARSE_BYTES = 256 * 2**20
"""Between two lines about one file where there is no terminal."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Three actions."""
    parser = subparsers.add_parser("models", description="The models that jobs may ask for, and their files.")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listing = actions.add_parser(
        "list",
        help="list the models",
        description="List the models that this machine's settings allow, and where each one is; "
        "with --server or WORKER_URL, the ones that a running worker offers.",
    )
    listing.add_argument("--local", action="store_true", help="this machine's, though WORKER_URL is set")
    add_server_arguments(listing)
    listing.set_defaults(run=run)
    fetching = actions.add_parser(
        "fetch",
        help="download models into the cache",
        description="Download models into the cache and check their SHA-256. What was interrupted goes on where it "
        "ended. hf:owner/name, or hf:owner/name@revision, is a Whisper of Hugging Face's; HF_TOKEN is for those with "
        "conditions. Exit code 3 when a model cannot be had.",
    )
    fetching.set_defaults(run=run_fetch)
    verifying = actions.add_parser(
        "verify",
        help="check the models' files",
        description="Hash the models' files and compare them with the published SHA-256; uses no network. Without "
        "names: the default model and every other one that is there. Exit code 1 when one is damaged or missing.",
    )
    verifying.set_defaults(run=run_verify)
    for action in (fetching, verifying):
        action.add_argument(
            "models", nargs="*", metavar="MODEL", help="names of models (WORKER_MODEL), or hf:owner/name"
        )


def run(args: argparse.Namespace) -> int:
    """One model a line."""
    if names_server(args) and not args.local:
        return with_client(args, _offered)
    settings = _settings()
    for model in model_files(settings):
        default = " (default)" if model.name == settings.model else ""
        print(f"{model.name:<16} {describe(model, offline=settings.offline)}{default}")
    return 0


async def _offered(client: Client) -> int:
    for name in (await client.ping()).get("models", ()):
        print(printable(str(name)))
    return 0


def run_fetch(args: argparse.Namespace) -> int:
    """Download what is missing; the paths go to stdout."""
    settings = _settings()
    if settings.offline:
        report(
            "WORKER_OFFLINE forbids downloads: unset it for this command (env -u WORKER_OFFLINE btworker models fetch)"
        )
        return EXIT_BAD_SETTINGS
    chosen = _chosen(settings, args.models or [settings.model])
    if chosen is None:
        return EXIT_USAGE
    return max(_fetch(model, settings) for model in chosen)


def run_verify(args: argparse.Namespace) -> int:
    """Hash what is there."""
    settings = _settings()
    there = [model.name for model in model_files(settings) if model.size_bytes is not None]
    chosen = _chosen(settings, args.models or list(dict.fromkeys([settings.model, *there])))
    if chosen is None:
        return EXIT_USAGE
    return max(_verify(model) for model in chosen)


def _settings() -> Settings:
    return load_settings(WORKER_TOKEN="unused", WORKER_TOKEN_FILE=None)  # noqa: S106 - no server is started: none is needed


def _chosen(settings: Settings, names: list[str]) -> list[ModelFile] | None:
    """The models with these names; None, and a sentence, where one is none of ours."""
    known = {model.name: model for model in model_files(settings)}
    for name in names:
        if name.startswith("hf:"):
            try:
                known[name] = hub_file(settings, name, HubModel.parse(name))
            except ValueError as error:
                report(str(error))
                return None
        if name not in known:
            report(f"no model named {printable(name)!r} is allowed here; `btworker models list` shows those that are")
            return None
    return [known[name] for name in names]


def _fetch(model: ModelFile, settings: Settings) -> int:
    if model.own:
        return EXIT_SERVER if _verify(model) else 0
    try:
        path = fetch(model, settings)
    except FetchError as error:
        report(str(error))
        return EXIT_SERVER
    print(path)
    if licence := forbids_commerce(path):
        report(f"{model.name} may not be used commercially: its licence is {printable(licence)}")
    if model.hub and model.name == str(model.hub):
        report(f"serve it with WORKER_MODELS=NAME={model.hub}")
    return 0


def fetch(model: ModelFile, settings: Settings) -> Path:
    """Download an official model with a bar. Raises FetchError with a sentence that says what to do."""
    if model.hub:
        return _fetch_from_hub(model.hub, model.name, settings)
    if model.official is None:
        raise WrongContentError(f"{model.name}: the installed openai-whisper does not know where it is")
    try:
        with _bar(model.name) as progress:
            return checkpoints.fetch(model.official, settings.model_cache, progress)
    except FetchError as error:
        advice = f"without a network, carry the file to {model.path}"
        raise type(error)(f"{model.name} could not be fetched: {error}; {advice}") from error


def _fetch_from_hub(model: HubModel, name: str, settings: Settings) -> Path:
    try:
        with _bar(name) as progress:
            return Hub(settings.hub_url, settings.huggingface_token).fetch(model, settings.model_cache, progress)
    except (FetchError, OSError) as error:
        raise FetchError(f"{printable(str(model))} could not be fetched: {printable(str(error))}") from error


def _verify(model: ModelFile) -> int:
    """One line: the verdict, the model, its hash, its file."""
    if model.size_bytes is None:
        print(f"missing  {model.name:<16} {model.path}")
        return EXIT_WRONG
    if model.path.is_dir():
        return _verify_folder(model)
    sha256 = file_sha256(model.path)
    wrong = model.official is not None and sha256 != model.official.sha256
    unknown = model.official is None and not model.own
    verdict = "damaged" if wrong else "unknown" if unknown else "own" if model.own else "ok"
    print(f"{verdict:<8} {model.name:<16} {sha256}  {model.path}")
    return EXIT_WRONG if wrong else 0


def _verify_folder(model: ModelFile) -> int:
    """The same of a folder; the files of one that was fetched are held to the hashes that they came with."""
    try:
        hashes = file_hashes(look_into(model.path))
    except (NotWhisperError, OSError) as error:
        print(f"refused  {model.name:<16} {model.path} {printable(str(error))}")
        return EXIT_WRONG
    wrong = damaged(model.path, hashes)
    verdict = "damaged" if wrong else "own" if model.own else "ok"
    print(f"{verdict:<8} {model.name:<16} {sha256_of_all(hashes)}  {model.path / wrong}")
    return EXIT_WRONG if wrong else 0


@contextmanager
def _bar(name: str) -> Iterator[checkpoints.Progress]:
    """A bar with speed and remaining time on a terminal, a line now and then elsewhere; on stderr."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal or console.is_dumb_terminal:
        yield _Lines(name)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn(),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console) as progress:
        task: TaskID = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


class _Lines:
    """Progress where there is no terminal."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._reported_at = -SPARSE_BYTES

    def __call__(self, done_bytes: int, total_bytes: int | None) -> None:
        if done_bytes - self._reported_at >= SPARSE_BYTES or done_bytes == total_bytes:
            self._reported_at = done_bytes
            total = "" if total_bytes is None else f" of {megabytes(total_bytes)}"
            print(f"{self._name}: {megabytes(done_bytes)}{total}", file=sys.stderr, flush=True)
