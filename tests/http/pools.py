"""An in-process pool for the HTTP tests: a real Pool that "transcribes" by writing small files; no child, no speech.

What it does with a job is told by the job's prompt: "" completes at once, "hold" runs until it is canceled or released,
"fail" fails, "odd names" produces files with awkward names, "rendition" leaves files for players as well,
"say …" has that as its text.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from pathlib import Path

from btworker.durable import write_durably
from btworker.errors import ErrorCode, ErrorInfo
from btworker.job_folder import JobFolder, transcript_name
from btworker.jobs import Job, JobId, Output, OutputFormat
from btworker.messages import EngineInfo, Failed, Finished, Rendered, RunTask, Started
from btworker.outputs import Presentation, render
from btworker.pool import BoxSummary, Phase, PoolEvent, RoomChanged, WorkerState
from btworker.pool.stream import EventStream
from btworker.renditions import Rendition, StoredPart
from btworker.specs import Device
from btworker.transcript import Segment, Transcript

READY_INFO = EngineInfo(
    versions=(("torch", "2.2.2"), ("whisper", "20231117")),
    checks=(("numpy", True), ("torch", True), ("torch_cuda", False), ("whisper", True), ("diarization", False)),
    diarization_error="HF_TOKEN is not set",
)
ODD_NAMES = ('a"b;c\\d.txt', "наївний 🎧.txt", "per%cent 100%.txt", "new\nline.txt")


class LocalPool:
    """One worker on the event loop."""

    def __init__(self) -> None:
        self.slots = 1
        self.phase = Phase.IDLE
        self.info: EngineInfo | None = READY_INFO
        self.problem: ErrorInfo | None = None
        self.loading = ""
        self.machines: tuple[BoxSummary, ...] | None = None
        self.release = asyncio.Event()
        self._events = EventStream()
        self._running: dict[JobId, asyncio.Task[None]] = {}

    def workers(self) -> tuple[WorkerState, ...]:
        device = Device("cpu")
        state = WorkerState(0, device, self.phase, pid=1, model="tiny", info=self.info, problem=self.problem)
        return (replace(state, job_ids=tuple(self._running), loading=self.loading),)

    def boxes(self) -> tuple[BoxSummary, ...] | None:
        return self.machines

    async def start(self) -> None:
        self._events.put(RoomChanged())

    def pick(self, waiting: Iterable[Job], _goes_beside: Callable[[Job], bool]) -> JobId | None:
        return next((job.id for job in waiting), None) if self.phase is Phase.IDLE else None

    def send(self, task: RunTask) -> WorkerState | None:
        if self.phase is not Phase.IDLE:
            return None
        self.phase = Phase.BUSY
        self._running[task.job_id] = asyncio.create_task(self._run(task), name=f"run-{task.job_id}")
        return self.workers()[0]

    def cancel(self, job_id: JobId) -> None:
        if job_id in self._running:
            self._running[job_id].cancel()

    def events(self) -> AsyncIterator[PoolEvent]:
        return aiter(self._events)

    async def stop(self) -> None:
        for running in self._running.values():
            running.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        self._events.end()

    async def _run(self, task: RunTask) -> None:
        self._events.put(Started(task.job_id, task.attempt))
        try:
            self._events.put(await self._work(task))
        except asyncio.CancelledError:
            error = ErrorInfo(ErrorCode.CANCELED, "canceled")
            self._events.put(Failed(task.job_id, task.attempt, error))
        finally:
            self._running.pop(task.job_id, None)
            self.phase = Phase.IDLE
            self._events.put(RoomChanged())

    async def _work(self, task: RunTask) -> Finished | Failed:
        if task.options.prompt == "hold":
            await self.release.wait()
        if task.options.prompt == "fail":
            return Failed(task.job_id, task.attempt, ErrorInfo(ErrorCode.NO_AUDIO, "the file has no audio"))
        folder = task.folder / "out"
        folder.mkdir()
        outputs = []
        for item in task.inputs:
            names = ODD_NAMES if task.options.prompt == "odd names" else (f"{item.stem}_transcript.json",)
            for name in names:
                text = f"transcript of {item.filename!r}, {item.size_bytes} bytes\n".encode()
                (folder / name).write_bytes(text)
                outputs.append(Output(item.input_id, name, "json", len(text), hashlib.sha256(text).hexdigest()))
        if task.options.prompt == "rendition":
            for index in range(len(task.inputs)):
                self._events.put(Rendered(task.job_id, task.attempt, _rendition(task.folder, index)))
        if task.options.prompt.startswith("say "):
            text = task.options.prompt.removeprefix("say ")
            said = Transcript(text, "en", (Segment(0, 0, 0.0, 1.0, text, speaker="SPEAKER_00"),), 1.0)
            (folder / transcript_name(0)).write_text(render(said, OutputFormat.JSON, Presentation("talk")))
        durations = tuple(1.5 for _ in task.inputs)
        return Finished(task.job_id, task.attempt, tuple(outputs), durations, (("transcribing", 0.5),))


def _rendition(folder: Path, index: int) -> Rendition:
    """What players get, as the engine leaves it, without sound in it."""
    files = JobFolder(folder).rendition(index)
    files.folder.mkdir(exist_ok=True)
    stored = []
    for path in files.both:
        data = f"{path.name} ".encode() * 1000
        stored.append(StoredPart(len(data), write_durably(path, data)))
    return Rendition(index, *stored)
