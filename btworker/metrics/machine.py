"""What the machine under the worker looks like at a scrape: disk and GPUs. Asked by web/, shown here. Parent only."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from btworker.pool.devices import GpuReading
from btworker.storage import DiskSpace


@dataclass(frozen=True, slots=True)
class Machine:
    """One look at the machine. `disk` is None where the disk did not answer in time."""

    ready: bool
    disk: DiskSpace | None = None
    gpus: tuple[GpuReading, ...] = ()


class MachineCollector(Collector):
    """Shows the last look. What could not be seen has no series, rather than an old or invented value."""

    def __init__(self) -> None:
        self.seen = Machine(ready=False)

    def describe(self) -> Iterable[Metric]:
        """Nothing to clash with: the registry need not collect at registration."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Readiness, disk and GPUs."""
        yield GaugeMetricFamily("btworker_ready", "1 where /health/ready says 200.", int(self.seen.ready))
        if self.seen.disk is not None:
            yield GaugeMetricFamily(
                "btworker_disk_free_bytes", "Bytes free on the data disk.", self.seen.disk.free_bytes
            )
            yield GaugeMetricFamily("btworker_disk_size_bytes", "Size of the data disk.", self.seen.disk.size_bytes)
        yield from self._gpus()

    def _gpus(self) -> Iterator[Metric]:
        up = _by_gpu("btworker_gpu_up", "1 while the driver answers for the GPU.")
        used = _by_gpu("btworker_gpu_memory_used_bytes", "GPU memory in use, by whatever process.")
        size = _by_gpu("btworker_gpu_memory_total_bytes", "Size of the GPU's memory.")
        busy = _by_gpu("btworker_gpu_utilization_ratio", "Share of the time that a kernel ran, 0 to 1.")
        heat = _by_gpu("btworker_gpu_temperature_celsius", "Temperature of the GPU.")
        for gpu in self.seen.gpus:
            up.add_metric((gpu.label,), int(gpu.up))
            for family, value in (
                (used, gpu.memory_used_bytes),
                (size, gpu.memory_total_bytes),
                (busy, gpu.utilization),
                (heat, gpu.temperature_c),
            ):
                if value is not None:
                    family.add_metric((gpu.label,), value)
        return (family for family in (up, used, size, busy, heat) if family.samples)


def _by_gpu(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=("gpu",))
