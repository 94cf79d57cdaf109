"""What players get of an input, made while its text is: a job is never failed because there is none."""

from collections.abc import Callable
from subprocess import SubprocessError

from btworker.engine.job.events import EventFactory
from btworker.engine.job.text_run import Shared
from btworker.engine.sound.ffmpeg import Audio
from btworker.engine.sound.rendition import Encoding, NoRenditionError
from btworker.job_folder import JobFolder
from btworker.logs import get_logger
from btworker.messages import Rendered

log = get_logger()


def render_if_wanted(shared: Shared, index: int, audio: Audio, canceled: Callable[[], bool]) -> None:
    """Make what players get of input number `index`, and tell of it; or warn that it cannot be played back, and why.

    Called in the thread that decoded the sound; events may be emitted from any.
    """
    task, kbit_s = shared.task, shared.equipment.spec.settings.rendition_kbit_s
    if not kbit_s:
        return
    try:
        rendition = Encoding(JobFolder(task.folder).rendition(index), kbit_s, canceled).run(audio)
    except (NoRenditionError, OSError, SubprocessError) as error:
        why = str(error) if isinstance(error, NoRenditionError) else "ffmpeg could not be run"
        log.warning("rendition_failed", fileIndex=index, error=str(error))
        shared.emit(EventFactory(task).warned_of(index, f"the recording cannot be played back here: {why}"))
        return
    if rendition is not None:
        shared.emit(Rendered(task.job_id, task.attempt, rendition))
