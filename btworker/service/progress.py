"""How an event of a running job changes the job. Pure: a job and an event in, a job out."""

from dataclasses import replace

from btworker.jobs import Job, Progress, Stage
from btworker.messages import Finished, ModelLoaded, Progressed, Started, Warned, WindowDone, WorkerLost

UNFINISHED_PERCENT = 99.0
"""No running job says 100: that is what `complete` is for."""
WORDS_SHARE = 0.7
"""Of a file's percent, where speakers are told apart after the words."""


def after(job: Job, event: object, now: float) -> Job:
    """The job after an event that does not end its attempt. `now` is seconds since the epoch."""
    match event:
        case Progressed():
            return _moved(job, event.stage, event.file_index, event.seconds_done, event.seconds_total, now=now)
        case WindowDone():
            done = (event.seconds_done, event.seconds_total)
            moved = _moved(job, Stage.TRANSCRIBING, event.file_index, *done, now=now)
            return replace(moved, progress=replace(moved.progress, chunk_index=event.index + 1))
        case Warned():
            return job.with_warnings(event.message).with_log(now, "warning", event.message)
        case ModelLoaded():
            return job.with_log(now, "info", f"loaded model {event.model} in {event.load_s:.1f} s")
        case Started():
            return job.with_log(now, "info", f"attempt {event.attempt} started")
    return job


def completed(job: Job, event: Finished) -> Job:
    """The job with its results; its status is the service's to change."""
    inputs = tuple(
        replace(item, duration_s=seconds) for item, seconds in zip(job.inputs, event.durations_s, strict=True)
    )
    total_s = sum(event.durations_s)
    progress = replace(job.progress, percent=100.0, audio_s_done=total_s, audio_s_total=total_s)
    return replace(job, inputs=inputs, outputs=event.outputs, timings=event.timings, progress=progress)


def lost_sentence(event: WorkerLost, losses: int) -> str:
    """Why a job is given up."""
    times = "once" if losses == 1 else f"{losses} times"
    return f"the process that ran this job {event.message}; that happened {times}, so it is not tried again"


def shared_sentence(event: WorkerLost) -> str:
    """Why a job is queued again without a loss."""
    return f"its process {event.message}, with other jobs in it; this costs no attempt, and it will run alone"


def _moved(job: Job, stage: Stage, file_index: int, done_s: float, total_s: float, *, now: float) -> Job:
    """Percent counts whole files; within a file decoding does not move it, since it is a moment."""
    share = min(done_s / total_s, 1.0) if total_s > 0 and stage is not Stage.INITIALIZING else 0.0
    if job.options.diarization_enabled:
        share = share * WORDS_SHARE if stage is not Stage.DIARIZING else WORDS_SHARE + share * (1 - WORDS_SHARE)
    percent = 100.0 * (file_index + share) / max(len(job.inputs), 1)
    progress = Progress(
        percent=min(round(max(percent, job.progress.percent), 1), UNFINISHED_PERCENT),
        file_index=file_index,
        total_files=len(job.inputs),
        current_file=job.inputs[file_index].filename,
        chunk_index=job.progress.chunk_index if job.progress.file_index == file_index else 0,
        total_chunks=0,
        audio_s_done=done_s,
        audio_s_total=total_s,
    )
    started_at = job.stage_started_at if stage is job.stage else now
    return replace(job, stage=stage, stage_started_at=started_at, progress=progress)
