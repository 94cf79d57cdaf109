"""A voice to be stored: a job of its own kind, which makes an embedding of its only input and nothing else.

Runs in the child; service/voices.py keeps what comes out.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from btworker.durable import publish, write_durably
from btworker.engine.cooperate.ticket import checkpoint
from btworker.engine.diarization.source import DiarizationError
from btworker.engine.job.equipment import Equipment
from btworker.engine.job.events import EventFactory
from btworker.engine.job.references import ReferenceReader
from btworker.engine.vad.detector import SpeechDetector
from btworker.errors import BtworkerError, ErrorCode
from btworker.ffmpeg import SAMPLE_RATE
from btworker.job_folder import JobFolder, scratch_file
from btworker.jobs import Stage
from btworker.messages import JobEvent, RunTask
from btworker.voices import ENROLLED, Voice

if TYPE_CHECKING:
    from btworker.engine.diarization.diarizer import Diarizer


class Enrolment:
    """One attempt at one voice."""

    def __init__(
        self, equipment: Equipment, task: RunTask, detector: SpeechDetector, emit: Callable[[JobEvent], None]
    ) -> None:
        self._equipment = equipment
        self._task = task
        self._detector = detector
        self._emit = emit
        self._events = EventFactory(task)
        self._folder = JobFolder(task.folder)

    async def run(self) -> Voice:
        """Make the voice. Raises BAD_OPTION for a bad recording, MODEL_UNAVAILABLE where there is no pipeline."""
        task, settings = self._task, self._equipment.spec.settings
        name = task.options.known_speakers[0].name
        reader = ReferenceReader(settings, self._folder, self._detector)
        scratch = scratch_file(settings.scratch, task.job_id, 0)
        samples = reader.samples(self._folder.input(0), scratch, name, canceled=lambda: False)
        self._emit(self._events.progressed(Stage.LOADING_MODEL, 0, 0.0, 0.0))
        await checkpoint()
        diarizer = self._load()
        self._emit(self._events.progressed(Stage.DIARIZING, 0, 0.0, len(samples) / SAMPLE_RATE))
        found = await diarizer.voice(samples)
        if found is None:
            message = f"the pipeline for speakers finds too little speech in the reference of {name!r}"
            raise BtworkerError(ErrorCode.BAD_OPTION, message)
        return Voice(tuple(map(float, found)), diarizer.voice_model, round(len(samples) / SAMPLE_RATE, 3))

    def _load(self) -> "Diarizer":
        try:
            return self._equipment.speakers.load()
        except DiarizationError as error:
            raise BtworkerError(ErrorCode.MODEL_UNAVAILABLE, f"voices cannot be told apart here: {error}") from error

    def keep(self, voice: Voice) -> None:
        """Write it to the job's folder, durably."""
        final = self._folder.path / ENROLLED
        part = final.with_suffix(".part")
        write_durably(part, voice.to_json())
        publish(part, final)
