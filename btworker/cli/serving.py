"""The one place that wires settings -> store -> pool -> service -> app, and takes it down again. serve.py comes here
with the data folder locked and the first children on their way.

The socket listens before any child has loaded, so that ping answers from the first second. SIGTERM (or Ctrl-C) drains:
running jobs get WORKER_DRAIN_SECONDS, then go back into the queue; a second one stops now. Nothing is lost either way.
"""

import asyncio
import gc
import json
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryFile
from typing import Any

from btworker import __version__, control, logs
from btworker.cli.checks import Verdict, file_system_check
from btworker.cli.notify import Notifier
from btworker.cli.pool import pool_of
from btworker.config import Settings, child_environment
from btworker.errors import EXIT_DATA_FOLDER, StartupError
from btworker.metrics import Metrics
from btworker.pool.supervisor import FirstChildren
from btworker.service import JobService
from btworker.storage import DataFolder
from btworker.store import Store
from btworker.web.app import Server, bind, build_app

log = logs.get_logger()
READY_POLL_S = 0.2
SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def serve(settings: Settings, data: DataFolder, children: FirstChildren, ready_file: Path | None) -> None:
    """Serve until a signal. Raises StartupError."""
    signals = _signals()
    systemd = Notifier(child_environment())
    async with systemd.beating(), _service(settings, data, children) as (service, metrics):
        listener = bind(settings)
        server = Server(build_app(settings, service, metrics), listener, settings)
        await service.start()
        set_aside()
        url = await server.start()
        log.info("listening", url=url, pid=os.getpid(), version=__version__, slots=service.slots)
        systemd.ready(url)
        _write_address(ready_file, url)
        ready = asyncio.create_task(_log_ready(service, url), name="say-ready")
        try:
            await _until_stopped(service, signals, settings, systemd)
        finally:  # also where a task of the service has failed: nobody is to be answered from a store that is closed
            ready.cancel()
            await server.stop()
    log.info("stopped")
    _ignore_signals()


def set_aside() -> None:
    """Whatever the start has made stays: the garbage collector looks through it no more, which stops all else for as
    long as it takes, and comes the more often the more jobs come."""
    gc.collect()
    gc.freeze()


async def _log_ready(service: JobService, url: str) -> None:
    """One sentence for whoever started us by hand, once jobs would start: where to send them, and how."""
    while not any(worker.ready for worker in service.workers()):  # noqa: ASYNC110 - the pool has one subscriber, and it is not this
        await asyncio.sleep(READY_POLL_S)
    request = f'curl -H "Authorization: Bearer $WORKER_TOKEN" -F file=@talk.m4a {url}/v1/jobs'
    log.info("ready", message=f"ready; send a recording with: {request}")


def _write_address(ready_file: Path | None, url: str) -> None:
    """For scripts that start us; renamed, so that they never read half of it."""
    if ready_file is not None:
        part = ready_file.with_name(f"{ready_file.name}.part")
        part.write_text(json.dumps({"url": url, "pid": os.getpid()}), encoding="utf-8")
        part.rename(ready_file)


@asynccontextmanager
async def _service(
    settings: Settings, data: DataFolder, children: FirstChildren
) -> AsyncIterator[tuple[JobService, Metrics]]:
    _look_at_file_system(settings.data_dir)
    store = Store.open(data.database)
    try:
        _make_scratch(settings.scratch_dir)
        async with pool_of(settings, data, children) as (pool, commands):
            service = JobService(settings=settings, store=store, pool=pool, data=data)
            try:
                async with _control(data, store, {"keys": service.keys.answer, **commands}):
                    yield service, Metrics(service)
            finally:
                await service.stop()
    finally:
        await store.close()


@asynccontextmanager
async def _control(data: DataFolder, store: Store, commands: Mapping[str, control.Command]) -> AsyncIterator[None]:
    """What commands on this machine may ask for; the worker is none the worse without."""
    for copy in data.root.glob("backup.*.sqlite3"):  # nobody fetched it
        copy.unlink()

    async def backup(_: dict[str, Any]) -> dict[str, Any]:
        copy = data.root / f"backup.{token_hex(8)}.sqlite3"
        try:
            await store.back_up(copy)
        except sqlite3.Error as error:
            await data.run(copy.unlink, missing_ok=True)
            return {"error": str(error)}
        return {"table": copy.name}

    async with AsyncExitStack() as stack:
        try:
            answering = control.answering(data.root, {"backup": backup, **commands})
            await stack.enter_async_context(answering)
        except OSError as error:
            message = f"`btworker backup` and `keys` will work only while this worker is stopped ({error})"
            log.warning("no_control_socket", message=message)
        yield


def _make_scratch(folder: Path) -> None:
    """The folder of decoded audio, tried out: it may lie on a disk of its own. Raises StartupError."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o750)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StartupError(
            f"the scratch folder {folder} cannot be used: {error.strerror}; "
            "give it to the user that runs btworker, or set WORKER_TMP_DIR",
            exit_code=EXIT_DATA_FOLDER,
        ) from None


def _look_at_file_system(data_dir: Path) -> None:
    """Say at once where SQLite's log cannot be trusted; the operator may know better, so the start goes on."""
    check = file_system_check(data_dir, Path("/proc/mounts"))
    if check.verdict is not Verdict.OK:
        log.warning("data_folder_not_local", message=f"{check.found}; {check.mend}")


def _signals() -> asyncio.Queue[signal.Signals]:
    received: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, received.put_nowait, number)
    return received


def _ignore_signals() -> None:
    """The loop takes its handlers along when it closes; one more SIGTERM would make a clean stop look like a death."""
    for number in SIGNALS:
        asyncio.get_running_loop().remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)


async def _until_stopped(
    service: JobService, signals: asyncio.Queue[signal.Signals], settings: Settings, systemd: Notifier
) -> None:
    """Wait for a signal, then drain; a second signal ends the drain. A failed task of the service raises here."""
    first = asyncio.create_task(signals.get(), name="first-signal")
    failed = asyncio.ensure_future(service.failed)
    await asyncio.wait((first, failed), return_when=asyncio.FIRST_COMPLETED)
    if failed.done():
        first.cancel()
        failed.result()
    systemd.stopping(drain_s=settings.drain_s)
    log.info("stopping", signal=first.result().name, drainSeconds=settings.drain_s)
    drain = asyncio.create_task(service.drain(grace_s=settings.drain_s), name="drain")
    second = asyncio.create_task(signals.get(), name="second-signal")
    await asyncio.wait({drain, second}, return_when=asyncio.FIRST_COMPLETED)
    for task in (drain, second):
        task.cancel()
    await asyncio.gather(drain, second, return_exceptions=True)
