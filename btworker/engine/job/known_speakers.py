"""Who of a recording is somebody known: the job's references embedded once, each input's speakers matched with them.
Runs in the child.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from btworker.engine.diarization.voices import Likeness, match, named
from btworker.engine.job.references import Reference
from btworker.specs import EngineSettings
from btworker.transcript import KnownVoice

if TYPE_CHECKING:
    from btworker.engine.diarization.diarizer import Diarization, Diarizer

Warn = Callable[[str], None]


class KnownSpeakers:
    """Those of one attempt at a job."""

    def __init__(self, settings: EngineSettings, references: Sequence[Reference]) -> None:
        self._references = references
        self._rules = Likeness(settings.voice_score, settings.voice_margin)
        self._voices: list[tuple[str, npt.NDArray[Any] | None]] = []

    async def name(
        self, diarizer: "Diarizer", found: "Diarization", warn: Warn
    ) -> "tuple[Diarization, tuple[KnownVoice, ...]]":
        """Give the speakers of a recording the names of those who are known; `warn` takes what stands in the way."""
        if not self._references:
            return found, ()
        if found.turns and not found.voices:
            warn("the pipeline for speakers gives no embeddings of them, so that nobody is known by name")
        if not self._voices:
            self._voices = [(one.name, await self._voice(diarizer, one, warn)) for one in self._references]
        known = match(found.voices, self._voices, self._rules)
        turns, exclusive = named(found.turns, known), named(found.exclusive, known)
        return replace(found, turns=turns, exclusive=exclusive), known

    async def _voice(self, diarizer: "Diarizer", reference: Reference, warn: Warn) -> npt.NDArray[Any] | None:
        if reference.voice is not None:
            if reference.voice.model == diarizer.voice_model:
                return np.array(reference.voice.embedding)
            warn(
                f"the stored voice {reference.name!r} was made with another pipeline for speakers than this worker has "
                "now, and is left out; store it again"
            )
        elif reference.samples is not None:
            voice = await diarizer.voice(reference.samples)
            if voice is None:
                warn(f"the pipeline for speakers finds too little speech in the reference of {reference.name!r}")
            return voice
        return None
