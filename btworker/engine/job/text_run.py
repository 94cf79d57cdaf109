"""The text of one take of an input, or of all of it: from its sound to its segments, as a piece of together()."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from btworker.engine.asr.fast import AHEAD
from btworker.engine.asr.journal import Journal
from btworker.engine.asr.recognition import Recognition, Step, recognize, run_name
from btworker.engine.asr.spread.shares import Plan, Shares
from btworker.engine.asr.timeline import WINDOW_S, Window
from btworker.engine.asr.weights import Model
from btworker.engine.job.equipment import Equipment
from btworker.engine.job.live_text import LiveText, TakeJournal
from btworker.engine.job.results import StageClock
from btworker.engine.job.speaker_stage import SpeakerStage
from btworker.engine.job.takes import Take
from btworker.engine.sound.recording import Recording, Sound
from btworker.job_folder import JobFolder
from btworker.jobs import Input
from btworker.messages import JobEvent, RunTask, ShareOffered


@dataclass(frozen=True, slots=True)
class Shared:
    """What the inputs of one attempt have in common."""

    equipment: Equipment
    task: RunTask
    model: Model
    speakers: SpeakerStage
    clock: StageClock
    emit: Callable[[JobEvent], None]


def fill_batches(left_s: Sequence[float], shared: Shared) -> bool:
    """Whether what is at work, with so many seconds left each, fills the model's batches.

    Of exact decoding, one window of each is decoded at a time, so it takes more of them; what is left of their sound is
    not longer than the longest recording may be.
    """
    windows = AHEAD * shared.model.decoder.batch_size
    is_fast = shared.task.options.decode == "fast"
    enough_s = windows * WINDOW_S if is_fast else shared.equipment.spec.settings.max_audio_s
    return len(left_s) >= windows or sum(left_s) >= enough_s


class TextRun:
    """The text of one take."""

    def __init__(self, shared: Shared, index: int, *, take: Callable[[], Take], number: int = 0) -> None:
        """Transcribe a take of input number `index`; `take` returns it once its sound is whole."""
        self._shared = shared
        self._task = shared.task
        self._index = index
        self._take = take
        self._number = number
        self._folder = JobFolder(shared.task.folder)
        self._run = run_name(shared.model, self._source.sha256, self._task.options, take=number)

    @property
    def _source(self) -> Input:
        return self._task.inputs[self._index]

    async def recognize(
        self, sound: Sound, *, emit: Callable[[Step], None], live: LiveText | None = None
    ) -> Recognition:
        """Recognize the sound; `emit` takes each step."""
        path = self._folder.windows_of(self._index, self._number)
        journal = Journal(path, run=self._run)
        if live is not None:
            journal = TakeJournal(path, run=self._run, take=self._take(), live=live)
        offer = self._offer if self._may_spread else None
        if offer is None:
            self._offer_nothing()
        recording = Recording(sound, self._source.sha256)
        return await recognize(
            self._shared.model, recording, self._task.options, journal=journal, emit=emit, offer=offer
        )

    @property
    def _may_spread(self) -> bool:
        """Whether other processes of this machine may help. A job that may have killed its process gets no other."""
        spec = self._shared.equipment.spec
        return spec.settings.spread_s > 0 and spec.has_siblings and not self._task.alone

    def _offer(self, language: str, windows: tuple[Window, ...], begun: int) -> Shares | None:
        """Offer a recording that is long enough to helpers."""
        take = self._take()
        if take.duration_s < self._shared.equipment.spec.settings.spread_s:
            self._offer_nothing()
            return None
        stretch = take.stretch
        plan = Plan(self._run, str(take.path), stretch.count, language, windows, first=stretch.first)
        shares = Shares.offer(self._folder.shares(self._index, self._number), plan, begun=begun)
        self._shared.emit(ShareOffered(self._task.job_id, self._task.attempt, self._index, self._number))
        return shares

    def _offer_nothing(self) -> None:
        """Make helpers of an earlier attempt stop."""
        shutil.rmtree(self._folder.shares(self._index, self._number), ignore_errors=True)
