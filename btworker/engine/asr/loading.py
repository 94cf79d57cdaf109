"""What is told of a model while it comes: what is done for it, and how far that is. Runs in the child."""

import time
from collections.abc import Callable
from pathlib import Path

from btworker.checkpoints import official
from btworker.messages import Loading
from btworker.specs import EngineSettings

Tell = Callable[[Loading], None]
INTERVAL_S = 1.0
"""Between two words about the same: the parent has better things to do."""


class LoadingReport:
    """Tells of the steps on the way to one model."""

    def __init__(self, model: str, tell: Tell) -> None:
        self._model = model
        self._tell = tell

    def step(self, verb: str) -> Callable[[int, int | None], None]:
        """Begin a step ("downloading"); what is returned takes its progress in bytes, and tells of it now and then."""
        doing = f"{verb} the model {self._model}"
        self._tell(Loading(doing))
        told_at = float("-inf")

        def progress(done: int, total: int | None) -> None:
            nonlocal told_at
            if (now := time.monotonic()) - told_at >= INTERVAL_S:
                told_at = now
                self._tell(Loading(doing, done, total or 0))

        return progress


def checkpoint_of(name: str, settings: EngineSettings) -> Path | None:
    """Find where the checkpoint of a model is, or will be once it is downloaded; None where nobody knows the model."""
    own, known = dict(settings.models).get(name), official(name)
    return own or (settings.model_cache / known.filename if known else None)
