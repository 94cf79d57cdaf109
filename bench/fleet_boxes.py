"""Boxes for bench/fleet.py, many of them in a process: what a box does is the real thing (fleet/box.py, its attempts
and its courier over HTTP), but for the children, whose work is a sleep at the speed of a GPU.

    front end --queues--> gateway: SimulatedCluster --a unix socket for each box--> this process: SimulatedBox
        ^                                                                               |
        +------------------- HTTP: inputs down; windows, results up --------------------+

Ray is left out: 50 nodes of it are more than two cores can start. Also the program of the front end, `serve`, which is
`btworker serve` with these boxes instead of Ray's.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import struct
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from btworker.config import load_settings
from btworker.durable import write_durably
from btworker.errors import ErrorCode, ErrorInfo
from btworker.fleet.box import Box
from btworker.fleet.gateway import BoxLink, ClusterError
from btworker.fleet.records import BoxCommand, BoxWord, JobNews
from btworker.job_folder import JobFolder
from btworker.jobs import JobId, Output, Stage
from btworker.messages import Failed, FileDone, Finished, JobEvent, Progressed, Rendered, RunTask, Started, WindowDone
from btworker.pool import Phase, PoolEvent, RoomChanged, WorkerState
from btworker.renditions import Rendition, StoredPart
from btworker.specs import Device

LENGTH = struct.Struct("!I")
WINDOW_S = 30.0
TEXT = "word " * 70


@dataclass(frozen=True)
class Load:
    """What each GPU does."""

    gpus: int = 8
    """Of each box."""
    speed: float = 100.0
    """Seconds of audio a second, of one GPU."""
    minutes: float = 10.0
    """Length of each recording."""
    burst: int = 8
    """Windows that are done at the same moment: those of a batch."""
    rendition_bytes: int = 0
    """Of what players get of a recording; 0: none."""
    output_is_input: bool = False
    """A copy of the recording is among its results."""


class ScriptedPool:
    """In place of pool.supervisor.Supervisor: a GPU does one recording after the other, at its speed."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._events: asyncio.Queue[PoolEvent] = asyncio.Queue()
        self._running: dict[int, tuple[JobId, asyncio.Task[None]]] = {}

    async def start(self) -> None:
        """All children are there."""
        self._events.put_nowait(RoomChanged())

    async def stop(self) -> None:
        """They end with the process."""

    def workers(self) -> tuple[WorkerState, ...]:
        """A GPU each, whose child has the one model."""
        return tuple(
            WorkerState(
                index,
                Device("cuda", f"GPU-{index}", "simulated", index),
                Phase.BUSY if index in self._running else Phase.IDLE,
                pid=os.getpid(),
                model="fake",
                job_ids=(self._running[index][0],) if index in self._running else (),
            )
            for index in range(self._load.gpus)
        )

    @property
    def accepting(self) -> frozenset[int]:
        """All of them."""
        return frozenset(range(self._load.gpus))

    offers = ()
    """Of recordings with which others may help: none."""

    def load_for(self, jobs: int) -> None:
        """Nothing is unloaded."""

    def send_to(self, index: int, task: RunTask) -> WorkerState | None:
        """Begin a task where the GPU has none."""
        if index in self._running:
            return None
        self._running[index] = task.job_id, asyncio.create_task(self._run(index, task))
        return self.workers()[index]

    def cancel(self, job_id: JobId) -> None:
        """Stop a job."""
        for running, task in self._running.values():
            if running == job_id:
                task.cancel()

    async def events(self) -> AsyncIterator[PoolEvent]:
        """The one stream of events."""
        while True:
            yield await self._events.get()

    async def _run(self, index: int, task: RunTask) -> None:
        try:
            async for event in self._work(task):
                self._events.put_nowait(event)
        except asyncio.CancelledError:
            error = ErrorInfo(ErrorCode.CANCELED, "canceled")
            self._events.put_nowait(Failed(task.job_id, task.attempt, error))
        finally:
            del self._running[index]
            self._events.put_nowait(RoomChanged())

    async def _work(self, task: RunTask) -> AsyncIterator[JobEvent]:
        names = (task.job_id, task.attempt)
        folder, length_s = JobFolder(task.folder), self._load.minutes * 60
        folder.windows.mkdir(exist_ok=True)
        yield Started(*names)
        yield Progressed(*names, Stage.TRANSCRIBING, 0, 0.0, length_s)
        if self._load.rendition_bytes:
            yield Rendered(*names, await asyncio.to_thread(self._render, folder))
        windows = range(-(-int(length_s) // int(WINDOW_S)))
        for first in range(0, len(windows), self._load.burst):
            batch = windows[first : first + self._load.burst]
            await asyncio.sleep(len(batch) * WINDOW_S / self._load.speed)
            await asyncio.to_thread(_append, folder.windows_of(0), batch)
            for number in batch:
                yield WindowDone(*names, 0, number, min((number + 1) * WINDOW_S, length_s), length_s)
        yield FileDone(*names, 0)
        yield await asyncio.to_thread(self._finish, folder, task, length_s)

    def _render(self, folder: JobFolder) -> Rendition:
        """What players get, of the size that is wanted. Blocking."""
        size_bytes = self._load.rendition_bytes
        folder.renditions.mkdir(exist_ok=True)
        for path, size in zip(folder.rendition(0).both, (size_bytes, 1000), strict=True):
            path.write_bytes(bytes(size))
        return Rendition(0, StoredPart(size_bytes, "0" * 64), StoredPart(1000, "0" * 64))

    def _finish(self, folder: JobFolder, task: RunTask, length_s: float) -> Finished:
        """The transcript, durable. Blocking."""
        folder.outputs.mkdir()
        windows = [json.loads(line) for line in folder.windows_of(0).read_text().splitlines()]
        data = json.dumps({"text": TEXT, "windows": windows}).encode()
        name = f"{task.inputs[0].stem}_transcript.json"
        source = task.inputs[0]
        outputs = [Output(source.input_id, name, "json", len(data), write_durably(folder.outputs / name, data))]
        if self._load.output_is_input:
            os.link(folder.input(0), folder.outputs / f"{source.stem}.copy")
            outputs.append(Output(source.input_id, f"{source.stem}.copy", "txt", source.size_bytes, source.sha256))
        return Finished(task.job_id, task.attempt, tuple(outputs), (length_s,), (("transcribing", length_s),))


def _append(journal: Path, batch: range) -> None:
    """Windows of one batch. Blocking."""
    with open(journal, "a", encoding="utf-8") as file:
        file.writelines(json.dumps({"index": number, "text": TEXT}) + "\n" for number in batch)


@dataclass
class Counts:
    """Of all boxes of a process since its start."""

    words: int = 0
    """Records that went to the front end."""
    events: int = 0
    """Those of them that are an event of a job."""
    finished: int = 0

    def note(self, word: BoxWord) -> None:
        """Count one."""
        self.words += 1
        if isinstance(word, JobNews):
            self.events += 1
            self.finished += isinstance(word.event, Finished)


def main() -> None:
    """`fleet_boxes.py FOLDER FIRST COUNT LOAD`: boxes FIRST to FIRST+COUNT-1, until the process is ended."""
    folder, first, number, load = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Load(**json.loads(sys.argv[4]))
    asyncio.run(_serve(folder, [f"box-{n:02}" for n in range(first, first + number)], load))


async def _serve(folder: Path, names: list[str], load: Load) -> None:
    counts = Counts()
    for name in names:
        await asyncio.start_unix_server(partial(_run_box, folder, name, load, counts), folder / f"{name}.sock")
    path = folder / f"{names[0]}.counts"
    while True:
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(counts)))
        part.rename(path)
        await asyncio.sleep(0.5)


async def _run_box(
    folder: Path, name: str, load: Load, counts: Counts, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """One box, for as long as its gateway is connected."""

    def say(word: BoxWord) -> None:
        counts.note(word)
        writer.write(_packed(word))

    settings = load_settings(token="no-secret", data_dir=folder / "boxes" / name, device="cpu")  # noqa: S106
    box = Box(settings, say)
    box._pool = ScriptedPool(load)  # type: ignore[assignment]  # noqa: SLF001 - all else of it is the real one
    commands: asyncio.Queue[BoxCommand] = asyncio.Queue()
    running = asyncio.create_task(box.run(commands))
    try:
        while True:
            commands.put_nowait(await _receive(reader))
    except (asyncio.IncompleteReadError, ConnectionError):
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _packed(record: BoxWord | BoxCommand) -> bytes:
    """A record as _receive() reads it."""
    data = pickle.dumps(record)
    return LENGTH.pack(len(data)) + data


async def _receive(reader: asyncio.StreamReader) -> Any:
    (size,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    return pickle.loads(await reader.readexactly(size))  # noqa: S301 - our own process


class SimulatedCluster:
    """Implements gateway.Cluster; `address` is the folder with the sockets."""

    def __init__(self, address: str) -> None:
        self._folder = Path(address)
        self._boxes: dict[str, SimulatedBox] = {}

    async def connect(self) -> str:
        """There is nothing to enter."""
        return "127.0.0.1"

    async def boxes(self) -> Mapping[str, BoxLink]:
        """Those whose socket is there."""
        for path in sorted(self._folder.glob("*.sock")):
            if path.stem not in self._boxes:
                self._boxes[path.stem] = SimulatedBox(*await asyncio.open_unix_connection(path))
        return self._boxes


class SimulatedBox:
    """Implements gateway.BoxLink."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, command: BoxCommand) -> None:
        """See gateway.BoxLink."""
        self._writer.write(_packed(command))
        await self._writer.drain()

    async def words(self) -> AsyncIterator[BoxWord]:
        """See gateway.BoxLink."""
        try:
            while True:
                yield await _receive(self._reader)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise ClusterError("ended") from None


def serve() -> None:
    """`fleet_boxes.py serve …`: the front end. BENCH_PROFILE names a file for what its main thread does."""
    import cProfile

    from btworker.cli import pool
    from btworker.cli.main import main as btworker

    pool.fleet = partial(pool.fleet, cluster="fleet_boxes:SimulatedCluster")
    pool.find_spec = lambda _name: True  # type: ignore[assignment,return-value]
    profile = os.environ.get("BENCH_PROFILE")
    profiler = cProfile.Profile() if profile else None
    status = profiler.runcall(btworker, sys.argv[1:]) if profiler else btworker(sys.argv[1:])
    if profiler:
        profiler.dump_stats(str(profile))
    sys.exit(status)


if __name__ == "__main__":
    serve() if sys.argv[1:2] == ["serve"] else main()
