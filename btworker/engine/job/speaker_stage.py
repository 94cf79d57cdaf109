"""The stage of a job that adds speakers to its words, and never costs it the words.

Whatever goes wrong here is a warning of a complete job. Only a cancel ends the job; a broken GPU ends the child once
the job's files are written. A child that dies here leaves a note in the job's folder, and the next attempt goes
without speakers.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from btworker.engine.cooperate.ticket import checkpoint
from btworker.engine.diarization.slot import DiarizerSlot
from btworker.engine.diarization.source import DiarizationError
from btworker.engine.diarization.speakers import with_speakers
from btworker.engine.job.events import EventFactory
from btworker.engine.job.known_speakers import KnownSpeakers
from btworker.engine.sound.ffmpeg import Audio
from btworker.engine.stack.faults import translate
from btworker.errors import BtworkerError, ErrorCode
from btworker.job_folder import JobFolder
from btworker.jobs import Stage
from btworker.logs import get_logger
from btworker.messages import JobEvent, RunTask
from btworker.transcript import KnownVoice, Segment, Turn

if TYPE_CHECKING:
    from btworker.engine.diarization.diarizer import Diarization, DiarizationProgress, Diarizer

log = get_logger()
NO_SPEECH = "no speech was found in it"
DIED_HERE = "the process that looked for them died in an earlier attempt"
GPU_BROKE = "the GPU reported an error while they were looked for"


@dataclass(frozen=True, slots=True)
class Named:
    """The segments of an input with speakers, and the turns; or as they were, and why."""

    segments: tuple[Segment, ...]
    turns: tuple[Turn, ...] = ()
    no_speakers: str = ""
    """See Transcript."""
    known: tuple[KnownVoice, ...] = ()


class SpeakerStage:
    """For one attempt at a job."""

    def __init__(
        self, slot: DiarizerSlot, task: RunTask, emit: Callable[[JobEvent], None], known: KnownSpeakers
    ) -> None:
        self._slot = slot
        self._known = known
        self._task = task
        self._events = EventFactory(task)
        self._emit = emit
        self._note = JobFolder(task.folder).diarizing
        self._inside = 0
        """Inputs whose speakers are being told apart."""
        self.gpu_broke = False
        """The child's CUDA context cannot be used any more."""

    async def run(
        self,
        index: int,
        segments: tuple[Segment, ...],
        audio: Audio,
        *,
        which: str = "",
        clock: Callable[[Iterable[Turn]], Iterable[Turn]] = tuple,
    ) -> Named:
        """Give the segments of input number `index` speakers, or leave them as they are, with a warning.

        `which` begins the warnings about one of its channels; `clock` puts turns on the clock of the segments.
        """
        if self.gpu_broke or self._died_here():
            return self._without(index, segments, which, GPU_BROKE if self.gpu_broke else DIED_HERE)
        about = {"filename": self._task.inputs[index].filename, "durationSec": round(audio.duration_s, 3)}
        try:
            with self._noted():
                diarizer = await self._load(index)
                log.info("diarization_started", device=diarizer.device, **about)
                diarization = await self._diarize(diarizer, index, audio)
                warn = partial(self._warn, index)
                diarization, known = await self._known.name(diarizer, diarization, warn)
        except DiarizationError as error:
            return self._without(index, segments, which, str(error))
        except Exception as error:  # noqa: BLE001 - an edge: pyannote and all below it; the words are there, and are kept
            return self._forgive(error, index, segments, which)
        log.info("diarization_finished", speakerCount=diarization.speaker_count, **about)
        if not diarization.turns:
            return self._without(index, segments, which, NO_SPEECH)
        if warning := self._count_warning(diarization.speaker_count):
            self._warn(index, which + warning)
        named = with_speakers(segments, tuple(clock(diarization.exclusive)))
        return Named(named, tuple(clock(diarization.turns)), known=known)

    def _warn(self, index: int, sentence: str) -> None:
        self._emit(self._events.warned_of(index, sentence))

    async def _load(self, index: int) -> "Diarizer":
        """Give the diarizer. The first job with speakers has it loaded, with more time for it than for a window."""
        if not self._slot.is_loaded:
            self._emit(self._events.progressed(Stage.LOADING_MODEL, index, 0.0, 0.0))
            await checkpoint()
        return self._slot.load()

    async def _diarize(self, diarizer: "Diarizer", index: int, audio: Audio) -> "Diarization":
        def progressed(step: "DiarizationProgress") -> None:
            self._emit(self._events.progressed(Stage.DIARIZING, index, step.seconds_done, step.seconds_total))

        self._emit(self._events.progressed(Stage.DIARIZING, index, 0.0, audio.duration_s))
        return await diarizer.diarize(audio.samples, self._task.options, emit=progressed)

    def _forgive(self, error: Exception, index: int, segments: tuple[Segment, ...], which: str) -> Named:
        known = error if isinstance(error, BtworkerError) else translate(error)
        log.warning("diarization_failed", error=type(error).__name__, exc_info=error)
        if known is None:
            why = (
                f"telling speakers apart failed with an unexpected {type(error).__name__}; the worker's log has details"
            )
        elif known.code is ErrorCode.GPU_ERROR:
            self.gpu_broke, why = True, GPU_BROKE
        else:
            why = known.message
        return self._without(index, segments, which, why)

    def _without(self, index: int, segments: tuple[Segment, ...], which: str, why: str) -> Named:
        self._warn(index, f"{which}the transcript has no speakers: {why}")
        return Named(segments, no_speakers=why)

    def _count_warning(self, found: int) -> str | None:
        options = self._task.options
        lowest = options.num_speakers or options.min_speakers or 1
        highest = options.num_speakers or options.max_speakers or found
        if lowest <= found <= highest:
            return None
        asked = lowest if found < lowest else highest
        return f"{asked} speakers were asked for, but {found} could be told apart"

    def _died_here(self) -> bool:
        """Whether a child has been lost since the note was written."""
        try:
            return int(self._note.read_text(encoding="ascii")) < self._task.losses
        except (FileNotFoundError, ValueError):
            return False

    @contextmanager
    def _noted(self) -> Iterator[None]:
        self._inside += 1
        self._note.write_text(str(self._task.losses), encoding="ascii")
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._note.unlink(missing_ok=True)
