"""Asks NVML about the workers' GPUs every few seconds, in a daemon thread. Parent.

A driver whose GPU fell off the bus may not answer for minutes, or never: neither the event loop nor the end of the
process may wait for it. So nobody asks when a scrape comes; the scrape takes the last readings.
"""

import threading
import time
from collections.abc import Iterable

from btworker.pool.devices import GpuReading, gpus_down, read_gpus
from btworker.specs import Device

INTERVAL_S = 5.0
STALE_S = 20.0
"""Seconds after which a reading is no reading any more: the driver hangs."""


class GpuWatch:
    """The GPUs among `devices`; without one there is no thread, no question and no reading."""

    def __init__(self, devices: Iterable[Device], *, interval_s: float = INTERVAL_S, stale_s: float = STALE_S) -> None:
        self._interval_s = interval_s
        self._stale_s = stale_s
        self._gpus = tuple({device.label: device for device in devices if device.kind == "cuda"}.values())
        self._last: tuple[float, tuple[GpuReading, ...]] | None = None
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin to ask."""
        if self._gpus:
            threading.Thread(target=self._watch, name="gpu-watch", daemon=True).start()

    def stop(self) -> None:
        """Ask no more. Does not wait: the thread may be stuck in the driver."""
        self._stopped.set()

    def readings(self) -> tuple[GpuReading, ...]:
        """The last readings, empty before the first; all GPUs are down once the driver has stopped to answer."""
        if self._last is None:
            return ()
        taken_at, readings = self._last
        return readings if time.monotonic() - taken_at < self._stale_s else gpus_down(self._gpus)

    def _watch(self) -> None:
        while not self._stopped.is_set():
            readings = read_gpus(self._gpus)
            self._last = (time.monotonic(), readings)
            self._stopped.wait(self._interval_s)
