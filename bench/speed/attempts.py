"""Jobs for the engine as a child runs them, without a server."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch

from bench.speed.recordings import Recording
from btworker.engine.engine import WhisperEngine, load
from btworker.job_folder import JobFolder
from btworker.jobs import Input, JobId, Options
from btworker.logs import set_up
from btworker.messages import RunTask
from btworker.specs import Device, EngineSettings, LogSettings, WorkerSpec

CHECKPOINT = Path(__file__).resolve().parents[2] / "btworker" / "demo" / "whisper-tiny-words.pt"


def open_engine(folder: Path, device: torch.device, threads: int) -> WhisperEngine:
    """As a child opens it."""
    quiet = LogSettings("error", json=False)
    set_up(quiet)
    settings = EngineSettings(
        default_model="demo",
        models=(("demo", CHECKPOINT),),
        model_cache=folder,
        scratch=folder / "scratch",
        offline=True,
        threads=threads,
        diarization_pipeline=CHECKPOINT.parent / "diarization",
    )
    engine = load(WorkerSpec(0, Device(device.type), "", settings, quiet))
    engine.open()
    return engine


def task_of(recordings: Sequence[Recording], folder: Path, *, mode: str) -> RunTask:
    """All of them as one job in a new folder."""
    job = JobFolder(folder)
    job.inputs.mkdir(parents=True)
    for index, one in enumerate(recordings):
        job.input(index).symlink_to(one.path)
    inputs = tuple(
        Input(f"in_{index}", one.path.name, one.path.stem, one.path.stat().st_size, one.path.name)
        for index, one in enumerate(recordings)
    )
    return RunTask(JobId("bench"), 1, job.path, inputs, Options(model="demo", decode=mode))


def texts_of(task: RunTask) -> list[str]:
    """Of each recording of a finished one."""
    job = JobFolder(task.folder)
    return [json.loads(job.transcript(index).read_bytes())["text"] for index in range(len(task.inputs))]
