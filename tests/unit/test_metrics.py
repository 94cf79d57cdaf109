"""The parts of the metrics that need no server: the recent maximum, and a watch whose driver does not answer."""

import threading
from collections.abc import Iterator

import pynvml
import pytest

from btworker.metrics.lag import RecentMax
from btworker.pool.devices import read_gpus
from btworker.pool.gpu_watch import GpuWatch
from btworker.specs import Device
from tests import fake_nvml

GPU = Device("cuda", "GPU-0", "H200", 0)


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_longest_is_remembered_for_one_to_two_windows() -> None:
    """Asking does not change it; time does."""
    clock = Clock()
    lag = RecentMax(window_s=30.0, clock=clock)
    assert lag.value == 0
    clock.now += 29
    lag.observe(2.0)
    lag.observe(1.0)
    assert (lag.value, lag.value) == (2.0, 2.0)
    clock.now += 30
    lag.observe(0.5)
    assert lag.value == 2.0
    clock.now += 30
    assert lag.value == 0.5
    clock.now += 1000
    assert lag.value == 0


def test_a_machine_without_a_driver_has_gpus_that_are_down() -> None:
    """WORKER_DEVICE=cuda where there is no GPU: said, not raised."""
    assert [reading.up for reading in read_gpus([Device("cuda"), GPU])] == [False, False]


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A driver that answers once and then not until the test ends. Set when it is asked for the second time."""
    asked, release = threading.Event(), threading.Event()
    fake_nvml.install(monkeypatch, {"GPU-0": fake_nvml.Gpu()})
    answers = iter([None])

    def init() -> None:
        for _ in answers:
            return
        asked.set()
        release.wait()

    monkeypatch.setattr(pynvml, "nvmlInit", init)
    yield asked
    release.set()
    for thread in threading.enumerate():
        if thread.name == "gpu-watch":
            thread.join(10)


@pytest.mark.parametrize(("stale_s", "up"), [(3600.0, True), (0.0, False)])
def test_a_driver_that_hangs_is_a_gpu_that_is_down(stuck: threading.Event, stale_s: float, up: bool) -> None:
    """Nobody waits for it: the last readings hold for a while, then all GPUs are down."""
    watch = GpuWatch([GPU], interval_s=0.0, stale_s=stale_s)
    assert watch.readings() == ()
    watch.start()
    assert stuck.wait(10)
    assert [(reading.label, reading.up) for reading in watch.readings()] == [("0", up)]
    watch.stop()
