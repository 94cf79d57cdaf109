"""The one diarizer of a child, loaded when a job first asks for speakers.

pyannote.audio and what it imports take seconds and some 270 MB: a child that nobody asks for speakers goes without.
What can be known before, such as a folder that lacks a file, is known from the start, so that ping can say it.
"""

import threading
import time
from typing import TYPE_CHECKING

from btworker.engine.diarization.source import DiarizationError, NotSetUpError, check
from btworker.engine.stack.surroundings import BROKEN, unusable
from btworker.logs import get_logger
from btworker.specs import EngineSettings

if TYPE_CHECKING:
    from btworker.engine.diarization.diarizer import Diarizer

log = get_logger()
RETRY_S = 300.0
"""Between two tries to load what could not be loaded: whoever waits for a network waits for it once in a while only."""


class DiarizerSlot:
    """Shared by the jobs of a child, each in a thread of its own."""

    def __init__(self, settings: EngineSettings, *, on_gpu: bool, mismatch: str = "") -> None:
        """`mismatch`: why pyannote.audio cannot work in this environment; empty where it can."""
        self._settings = settings
        self._on_gpu = on_gpu
        self._mismatch = mismatch
        self._lock = threading.Lock()
        self._diarizer: Diarizer | None = None
        self._failed_at = -RETRY_S
        self.error = ""
        """Why there are no speakers, as far as that is known; empty otherwise."""
        self.is_set_up = True
        """Somebody wants speakers here, so that an error is a fault."""
        self._look()

    @property
    def is_loaded(self) -> bool:
        """Who asks next has it at once."""
        return self._diarizer is not None

    def load(self) -> "Diarizer":
        """Give the diarizer, loaded now if need be. Raises DiarizationError."""
        with self._lock:
            if self._diarizer is None:
                self._diarizer = self._try_to_load()
            return self._diarizer

    def _look(self) -> None:
        """Find what is wrong before anything is loaded; files may have been put right since the last look."""
        try:
            check(self._settings, on_gpu=self._on_gpu, mismatch=self._mismatch)
        except DiarizationError as error:
            self.error, self.is_set_up = str(error), not isinstance(error, NotSetUpError)
        else:
            self.error, self.is_set_up = "", True

    def _try_to_load(self) -> "Diarizer":
        if time.monotonic() - self._failed_at >= RETRY_S:
            self._look()
        if self.error:
            raise DiarizationError(self.error)
        log.info("diarization_load_started")
        try:
            from btworker.engine.diarization.diarizer import Diarizer  # late: see the module's docstring

            diarizer = Diarizer(self._settings, on_gpu=self._on_gpu)
        except (DiarizationError, *BROKEN) as error:
            self.error = (
                str(error) if isinstance(error, DiarizationError) else unusable("pyannote.audio", error).sentence
            )
            self._failed_at = time.monotonic()
            log.info("diarization_unavailable", message=self.error)
            raise DiarizationError(self.error) from error
        log.info("diarization_device_selected", device=diarizer.device)
        return diarizer
