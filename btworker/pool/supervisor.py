"""The local pool: workers over the GPUs of this box, and their events as one stream. Runs in the parent's loop."""

import asyncio
from collections.abc import AsyncIterator

from btworker.config import Settings
from btworker.jobs import JobId
from btworker.logs import wants_json
from btworker.messages import EngineSettings, LogSettings, RunTask, WorkerSpec
from btworker.pool import Phase, PoolEvent, WorkerState
from btworker.pool.devices import find_gpus, places, threads_per_child
from btworker.pool.limits import child_limits
from btworker.pool.worker import Worker

WATCH_INTERVAL_S = 1.0
"""Seconds between two looks for a hung child; it takes two to kill one."""


class Supervisor:
    """Implements pool.Pool with spawned processes."""

    def __init__(self, settings: Settings) -> None:
        self._events: asyncio.Queue[PoolEvent | None] = asyncio.Queue()
        self._workers = tuple(
            Worker(spec, child_limits(settings, spec.device), self._events.put_nowait)
            for spec in worker_specs(settings)
        )
        self._watch: asyncio.Task[None] | None = None

    @property
    def slots(self) -> int:
        """Jobs that can be at work at once: a child has one slot."""
        return len(self._workers)

    def workers(self) -> tuple[WorkerState, ...]:
        """The state of every worker, by index."""
        return tuple(worker.state for worker in self._workers)

    async def start(self) -> None:
        """Spawn the children; they report when they are ready."""
        for worker in self._workers:
            worker.start()
        self._watch = asyncio.create_task(self._look_for_hung(), name="pool-watch")

    def has_room(self) -> bool:
        """Some worker is idle."""
        return any(worker.phase is Phase.IDLE for worker in self._workers)

    def send(self, task: RunTask) -> WorkerState | None:
        """Give the task to an idle worker, rather one that has its model loaded."""
        idle = [worker for worker in self._workers if worker.phase is Phase.IDLE]
        if not idle:
            return None
        chosen = next((worker for worker in idle if worker.model == task.options.model), idle[0])
        chosen.send(task)
        return chosen.state

    def cancel(self, job_id: JobId, reason: str) -> None:
        """Ask whichever child has this job to stop it."""
        for worker in self._workers:
            worker.cancel(job_id, reason)

    async def events(self) -> AsyncIterator[PoolEvent]:
        """The one stream of events; ends after `stop`."""
        while (event := await self._events.get()) is not None:
            yield event

    async def stop(self) -> None:
        """Stop all children at the same time."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        await asyncio.gather(*(worker.stop() for worker in self._workers))
        self._events.put_nowait(None)

    async def _look_for_hung(self) -> None:
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            for worker in self._workers:
                worker.look()


def worker_specs(settings: Settings) -> tuple[WorkerSpec, ...]:
    """One spec per slot, from the settings and the GPUs that are there."""
    gpus = () if settings.device == "cpu" else find_gpus(settings.cuda_visible_devices)
    devices = places(choice=settings.device, gpus=gpus, slots=settings.max_concurrent_jobs)
    engine = EngineSettings(
        default_model=settings.model,
        models=tuple(settings.model_paths.items()),
        model_cache=settings.model_cache,
        scratch=settings.scratch_dir,
        offline=settings.offline,
        max_audio_s=settings.max_audio_hours * 3600,
        decode_stall_s=settings.decode_stall_s,
        batch_size=settings.batch_size,
        threads=threads_per_child(wanted=settings.cpu_threads, children=len(devices)),
        diarization_device=settings.diarization_device,
        diarization_pipeline=settings.diarization_pipeline,
        diarization_block_s=settings.diarization_block_minutes * 60,
        diarization_overlap_s=settings.diarization_overlap_s,
        hf_token=settings.huggingface_token,
    )
    logs = LogSettings(settings.log_level, json=wants_json(settings.log_format))
    return tuple(WorkerSpec(index, device, settings.engine, engine, logs) for index, device in enumerate(devices))
