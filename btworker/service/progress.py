"""How an event of a running job changes the job. Pure: a job and an event in, a job out."""

from dataclasses import replace

from btworker.jobs import FileProgress, Job, Options, Progress, Stage
from btworker.messages import (
    FileDone,
    Finished,
    ModelLoaded,
    Progressed,
    Rendered,
    Started,
    Warned,
    WindowDone,
    WorkerLost,
)
from btworker.pool import HelpBegun

UNFINISHED_PERCENT = 99.0
"""No running job says 100: that is what `complete` is for."""
SOUND_SHARE = 0.05
"""Of a file's percent, for its sound: so that short files, whose windows are in one batch, move before it ends."""
WORDS_SHARE = 0.7
"""Of a file's percent, where speakers are told apart after the words."""


def after(job: Job, event: object, now: float) -> Job:
    """The job after an event that does not end its attempt. `now` is seconds since the epoch."""
    match event:
        case Progressed() | WindowDone() | FileDone():
            return _moved(job, event, now=now)
        case Warned():
            return job.with_warnings(event.message).with_log(now, "warning", event.message)
        case Rendered(rendition=one):
            others = [other for other in job.renditions if other.index != one.index]
            return replace(job, renditions=(*others, one))
        case ModelLoaded():
            return job.with_log(now, "info", f"loaded model {event.model} in {event.load_s:.1f} s")
        case HelpBegun(box=box):
            return job.with_log(now, "info", f"the box {box} helps")
        case Started():  # an attempt begins with its first input
            job = replace(job, progress=replace(job.progress, files=()))
            return job.with_log(now, "info", f"attempt {event.attempt} started")
    return job


def completed(job: Job, event: Finished) -> Job:
    """The job with its results; its status is the service's to change."""
    inputs = tuple(
        replace(item, duration_s=seconds) for item, seconds in zip(job.inputs, event.durations_s, strict=True)
    )
    total_s = sum(event.durations_s)
    progress = replace(job.progress, percent=100.0, audio_s_done=total_s, audio_s_total=total_s, files=())
    return replace(job, inputs=inputs, outputs=event.outputs, timings=event.timings, progress=progress)


def lost_sentence(event: WorkerLost, losses: int) -> str:
    """Why a job is given up."""
    times = "once" if losses == 1 else f"{losses} times"
    return f"the process that ran this job {event.message}; that happened {times}, so it is not tried again"


def shared_sentence(event: WorkerLost) -> str:
    """Why a job is queued again without a loss."""
    return f"its process {event.message}, with other jobs in it; this costs no attempt, and it will run alone"


def _moved(job: Job, event: Progressed | WindowDone | FileDone, *, now: float) -> Job:
    """One input has moved. What is shown is the first input that is not done; percent counts all of them alike."""
    count = len(job.inputs)
    files = list(job.progress.files or [FileProgress()] * count)
    files[event.file_index] = _moved_file(files[event.file_index], event)
    shown = next((index for index, one in enumerate(files) if not one.over), count - 1)
    percent = 100.0 * sum(_share(one, job.options) for one in files) / count
    progress = Progress(
        percent=min(round(max(percent, job.progress.percent), 1), UNFINISHED_PERCENT),
        file_index=shown,
        total_files=count,
        current_file=job.inputs[shown].filename,
        chunk_index=files[shown].windows,
        total_chunks=0,
        audio_s_done=files[shown].done_s,
        audio_s_total=files[shown].total_s,
        files=tuple(files),
    )
    stage = files[shown].stage
    started_at = job.stage_started_at if stage is job.stage else now
    return replace(job, stage=stage, stage_started_at=started_at, progress=progress)


def _moved_file(file: FileProgress, event: Progressed | WindowDone | FileDone) -> FileProgress:
    match event:
        case FileDone():
            return replace(file, over=True)
        case WindowDone():
            file = replace(file, stage=Stage.TRANSCRIBING, windows=event.index + 1)
        case Progressed():
            file = replace(file, stage=event.stage)
    return replace(file, done_s=event.seconds_done, total_s=event.seconds_total)


def _share(file: FileProgress, options: Options) -> float:
    """Of the input's work that is done, 0 to 1."""
    if file.over:
        return 1.0
    share = min(file.done_s / file.total_s, 1.0) if file.total_s > 0 else 0.0
    if file.stage is Stage.INITIALIZING:
        return share * SOUND_SHARE
    if file.stage is Stage.DIARIZING:
        return WORDS_SHARE + share * (1 - WORDS_SHARE)
    words = SOUND_SHARE + share * (1 - SOUND_SHARE)
    return words * WORDS_SHARE if options.diarization_enabled else words
