"""Jobs for an engine in the test's own process, and what came of them."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from btworker.engine.engine import WhisperEngine
from btworker.jobs import Input, JobId, Options, OutputFormat
from btworker.messages import JobEvent, RunTask
from btworker.specs import Device, LogSettings, WorkerSpec
from tests.speech.conftest import engine_settings

OPTIONS = Options(
    model="random",
    decode="exact",  # which decodes noise as well
    temperature=0.0,
    word_timestamps=False,
    language="en",
    outputs=tuple(OutputFormat),
)


def spec_for(checkpoint: Path, folder: Path, **changes: object) -> WorkerSpec:
    """A child on the CPU."""
    settings = engine_settings(checkpoint, folder, **changes)
    return WorkerSpec(0, Device("cpu"), "btworker.engine.engine:load", settings, LogSettings("info", json=True))


def task_for(folder: Path, *sources: Path, attempt: int = 1, options: Options = OPTIONS) -> RunTask:
    """A job folder with these inputs."""
    (folder / "in").mkdir(parents=True, exist_ok=True)
    inputs = []
    for number, source in enumerate(sources):
        shutil.copy(source, folder / "in" / str(number))
        sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
        inputs.append(Input(f"in_{number}", source.name, f"talk-{number}", source.stat().st_size, sha256))
    return RunTask(JobId("wk_test"), attempt, folder, tuple(inputs), options)


def run(engine: WhisperEngine, task: RunTask, canceled: Callable[[], bool] = lambda: False) -> list[JobEvent]:
    """All events of an attempt."""
    return list(engine.run(task, canceled))
