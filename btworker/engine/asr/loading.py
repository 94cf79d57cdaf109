"""Progress of loading a model: the step, and how far it is. Runs in the child."""

import time
from collections.abc import Callable
from pathlib import Path

from btworker.checkpoints import official
from btworker.messages import Loading
from btworker.specs import EngineSettings

EmitLoading = Callable[[Loading], None]
INTERVAL_S = 1.0
"""Between two words about the same: the parent has better things to do."""


class LoadingReport:
    """Tells of the steps on the way to one model."""

    def __init__(self, model: str, emit: EmitLoading) -> None:
        self._model = model
        self._emit = emit

    def step(self, verb: str) -> Callable[[int, int | None], None]:
        """Begin a step ("downloading"); what is returned takes its progress in bytes, and emits it now and then."""
        doing = f"{verb} the model {self._model}"
        self._emit(Loading(doing))
        emitted_at = float("-inf")

        def progress(done: int, total: int | None) -> None:
            nonlocal emitted_at
            if (now := time.monotonic()) - emitted_at >= INTERVAL_S:
                emitted_at = now
                self._emit(Loading(doing, done, total or 0))

        return progress


def checkpoint_of(name: str, settings: EngineSettings) -> Path | None:
    """Find where the checkpoint of a model is, or will be once it is downloaded; None where nobody knows the model."""
    own, known = dict(settings.models).get(name), official(name)
    return own or (settings.model_cache / known.filename if known else None)
