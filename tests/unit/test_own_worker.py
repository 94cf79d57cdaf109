"""How long `btworker transcribe` waits for a worker of its own that is not ready."""

from collections.abc import Iterable
from itertools import chain, repeat
from typing import Any

import pytest

from btworker.cli import own_worker
from btworker.cli.own_worker import OwnWorkerError, _ready

LOADING = {"status": "not_ready", "loading": True, "reasons": ["no worker is ready yet: it loads the model"]}
LATE = {"status": "not_ready", "loading": False, "reasons": ["the job table does not answer"]}
READY = {"status": "ready"}


class Answers:
    """In place of a client: what it is told, one answer after the other."""

    def __init__(self, answers: Iterable[dict[str, Any]]) -> None:
        self._answers = iter(answers)

    async def readiness(self) -> dict[str, Any]:
        return next(self._answers)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_worker, "READY_POLL_S", 0.0)


async def test_a_late_disk_is_waited_for() -> None:
    """An answer that comes late on a busy machine ends nothing; what is awaited is shown."""
    shown: list[str] = []
    await _ready(Answers([LOADING, LATE, LATE, LOADING, READY]), shown.append)  # type: ignore[arg-type]
    assert shown == ["on this machine, it loads the model"] * 2


async def test_what_stays_wrong_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the worker's own reasons, once patience is over."""
    monkeypatch.setattr(own_worker, "PATIENCE_S", 0.05)
    with pytest.raises(OwnWorkerError, match="the job table does not answer"):
        await _ready(Answers(chain([LOADING], repeat(LATE))), lambda _: None)  # type: ignore[arg-type]
