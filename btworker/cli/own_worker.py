"""A worker of the command's own, for as long as it runs: what `transcribe` and `bench` do where no server is named.

The same server, the same child that holds the model and the same client path as ever, on a free port of the loopback
with a folder that goes with the command. So the command itself needs no torch, and all it can do with a server it can
do without one.
"""

import argparse
import asyncio
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from btworker.checkpoints import FetchError
from btworker.cli.board import waiting
from btworker.cli.connection import EXIT_SERVER, exit_code, report
from btworker.cli.embedded import CHECKPOINT, DEMO_MODEL, PIPELINE
from btworker.cli.local_server import TERMINATED, LocalServer, ServerError, stop_on_signals
from btworker.cli.model_files import model_files
from btworker.cli.models import fetch
from btworker.cli.wording import printable
from btworker.client import Client, ClientError
from btworker.config import Settings, child_environment, load_settings

READY_POLL_S = 0.1
PATIENCE_S = 5.0
"""Seconds that the worker may be unwell: on a busy machine a disk answers late, and then well."""
NO_SERVER = {"WORKER_TOKEN": "unused", "WORKER_TOKEN_FILE": None}
"""The token is made for each run."""
NO_MODEL = """\
no model is chosen, and {model} is not here: this is the embedded demo model, which knows fewer than two hundred words.
For real speech say --model small (or medium, large-v3: downloaded once), or set WORKER_MODEL."""


class OwnWorkerError(Exception):
    """It cannot work: one sentence, in which nothing but the reason stands."""


def with_own_worker(args: argparse.Namespace, work: Callable[[Client], Awaitable[int]]) -> int:
    """Run `work` with a client of a worker that is started for it; its exit code."""
    try:
        return asyncio.run(_run(prepared(args.model), work))
    except asyncio.CancelledError:
        return TERMINATED
    except (OwnWorkerError, ServerError) as error:
        report(str(error))
        return EXIT_SERVER
    except ClientError as error:
        report(error.message)
        return exit_code(error)


async def _run(settings: Settings, work: Callable[[Client], Awaitable[int]]) -> int:
    stop_on_signals()
    async with own_worker(settings) as client:
        return await work(client)


def prepared(model: str | None) -> Settings:
    """The settings to work with, the model's file in its place. Raises OwnWorkerError, StartupError."""
    settings = load_settings(**NO_SERVER)
    chosen = model or settings.model
    if chosen == DEMO_MODEL and DEMO_MODEL not in settings.model_paths:
        return _embedded(settings)
    files = {item.name: item for item in model_files(settings)}
    if chosen not in files:
        raise OwnWorkerError(
            f"no model named {printable(chosen)!r} is allowed here; `btworker models list` shows those"
        )
    file, nothing_set = files[chosen], not model and not settings.model_fields_set & {"model", "models"}
    if file.size_bytes is None and nothing_set:
        report(NO_MODEL.format(model=chosen))
        return _embedded(settings)
    if file.size_bytes is None and file.own:
        raise OwnWorkerError(f"the model {chosen} is missing: {file.path}")
    if file.size_bytes is None and settings.offline:
        raise OwnWorkerError(
            f"the model {chosen} is not here, and WORKER_OFFLINE forbids to download it: "
            f"carry the file to {file.path}, or say --model with one of `btworker models list`"
        )
    if file.size_bytes is None:
        try:
            fetch(file, settings)
        except FetchError as error:
            raise OwnWorkerError(str(error)) from None
    return load_settings(**NO_SERVER, WORKER_MODEL=chosen)


def _embedded(settings: Settings) -> Settings:
    """The demo model, on one thread: its matrices are so small that a second one costs more than it brings."""
    speakers = settings.diarization_pipeline or (None if settings.huggingface_token else PIPELINE)
    return load_settings(
        **NO_SERVER,
        WORKER_MODEL=DEMO_MODEL,
        WORKER_MODELS=f"{DEMO_MODEL}={CHECKPOINT}",
        WORKER_DIARIZATION_PIPELINE=speakers,
        WORKER_CPU_THREADS=settings.cpu_threads or 1,
    )


@asynccontextmanager
async def own_worker(settings: Settings) -> AsyncIterator[Client]:
    """A client of a ready worker; process and folder are gone after the block. Raises OwnWorkerError, ServerError."""
    token = secrets.token_urlsafe(24)
    temporary = tempfile.TemporaryDirectory(prefix="btworker-", dir=settings.tmp_dir, ignore_cleanup_errors=True)
    with temporary as folder:
        server = LocalServer(_environment(settings, token, Path(folder) / "data"), Path(folder))
        try:
            async with server, Client(server.url, token) as client:
                with waiting(f"starting the model {settings.model} on this machine") as show:
                    await _ready(client, show)
                report(f"{settings.model} runs on {(await client.ping()).get('gpuName') or 'the CPU'}")
                yield client
        except ClientError:
            if server.ended is None:
                raise
            raise ServerError(_obituary(server)) from None
        except ServerError as error:
            raise ServerError(f"{error}\n{_obituary(server)}") from None


async def _ready(client: Client, show: Callable[[str], None]) -> None:
    """Until the model is loaded; `show` takes what is awaited. Raises OwnWorkerError where it cannot be."""
    well_at = time.monotonic()
    while (state := await client.readiness())["status"] != "ready":
        if state.get("loading"):
            well_at = time.monotonic()
            show(f"on this machine, {str(state['reasons'][0]).partition(': ')[2]}")
        elif time.monotonic() - well_at > PATIENCE_S:
            reasons = state.get("reasons") or ("the worker is not ready, and does not say why",)
            raise OwnWorkerError("; ".join(map(str, reasons)))
        await asyncio.sleep(READY_POLL_S)


def _obituary(server: LocalServer) -> str:
    lines = "".join(f"\n  {printable(line)[:400]}" for line in server.tail())
    return f"the worker of this command ended with exit code {server.ended}; the end of its log:{lines}"


def _environment(settings: Settings, token: str, data: Path) -> dict[str, str]:
    """The operator's settings of speech and work; what is for a server that others use does not count."""
    ours: dict[str, Any] = {
        "WORKER_TOKEN": token,
        "WORKER_TOKEN_FILE": "",
        "WORKER_HOST": "127.0.0.1",
        "WORKER_PORT": 0,
        "WORKER_DATA_DIR": data,
        "WORKER_TMP_DIR": "",
        "WORKER_DISK_RESERVE_MB": 0,
        "WORKER_MAX_FILE_MB": 2**23,
        "WORKER_QUEUE_LIMIT": 100_000,
        "WORKER_DRAIN_SECONDS": 0,
        "WORKER_LOG_FORMAT": "json",
        "WORKER_MODEL": settings.model,
        "WORKER_MODELS": ",".join(f"{name}={path}" if path else name for name, path in settings.models),
        "WORKER_CPU_THREADS": settings.cpu_threads,
        "WORKER_DIARIZATION_PIPELINE": settings.diarization_pipeline or "",
        "HF_TOKEN": settings.huggingface_token or "",
        "TMPDIR": data.parent,  # where torch leaves folders of its own
    }
    return {**child_environment(), **{name: str(value) for name, value in ours.items()}}
