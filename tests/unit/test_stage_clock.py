"""Seconds by stage, also where several inputs are in one at once."""

from types import SimpleNamespace

import pytest

from btworker.engine.job.results import StageClock


class Time:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        """As time.monotonic."""
        return self.now_s


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """The clock's."""
    fake = Time()
    monkeypatch.setattr("btworker.engine.job.results.time", SimpleNamespace(monotonic=fake.monotonic))
    return fake


def test_the_time_of_a_stage_passes_once(time: Time) -> None:
    """While two are in it, whichever came first leaves first; it is told once both have left."""
    clock = StageClock()
    first, second = clock.stage("transcribe"), clock.stage("transcribe")
    first.__enter__()
    time.now_s += 1
    second.__enter__()
    time.now_s += 2
    first.__exit__(None, None, None)
    assert not clock.timings
    time.now_s += 3
    second.__exit__(None, None, None)
    assert dict(clock.timings) == {"transcribe": 6.0}


def test_time_outside_of_a_stage_is_not_counted(time: Time) -> None:
    """Between two times in it; that of another one is its own, beside it."""
    clock = StageClock()
    with clock.stage("decode"):
        for _ in range(3):
            with clock.stage("transcribe"):
                time.now_s += 0.25
            time.now_s += 10
    assert clock.timings == (("transcribe", 0.75), ("decode", 30.75))


def fail_in(clock: StageClock, stage: str, time: Time) -> None:
    """After a second."""
    with clock.stage(stage):
        time.now_s += 1
        raise InterruptedError


def test_a_stage_that_fails_is_counted(time: Time) -> None:
    """And does not stay open: the next one in it begins anew."""
    clock = StageClock()
    with pytest.raises(InterruptedError):
        fail_in(clock, "decode", time)
    time.now_s += 5
    with clock.stage("decode"):
        time.now_s += 2
    assert dict(clock.timings) == {"decode": 3.0}
