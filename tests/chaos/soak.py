"""What a long run measures: memory and descriptors of the parent, and their growth per hour."""

import asyncio
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.chaos.checks import descriptors
from tests.chaos.server import ServerProcess

SAMPLE_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the parent. RSS as in smaps_rollup."""

    at_s: float
    rss_mb: float
    descriptors: int


class Sampler:
    """Looks at the parent every few seconds, from the end of the warm-up on."""

    def __init__(self, server: ServerProcess, kept: Path, *, warm_up_s: float) -> None:
        self.samples: list[Sample] = []
        self._kept = kept
        self._server = server
        self._warm_up_s = warm_up_s

    async def run(self) -> None:
        """For ever."""
        await asyncio.sleep(self._warm_up_s)
        started = time.monotonic()
        while True:
            at_s = time.monotonic() - started
            self._take(at_s)
            await asyncio.sleep(SAMPLE_EVERY_S - at_s % SAMPLE_EVERY_S)

    def _take(self, at_s: float) -> None:
        """Kept on disk as well: a run that is cut short has measured something all the same."""
        sample = Sample(at_s, rss_mb(self._server.pid), descriptors(self._server.pid))
        self.samples.append(sample)
        with open(self._kept, "a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(sample)) + "\n")

    @property
    def hours(self) -> float:
        """Between the first and the last sample."""
        return (self.samples[-1].at_s - self.samples[0].at_s) / 3600 if self.samples else 0.0

    @property
    def rss_mb_per_hour(self) -> float:
        """The slope of a straight line through all samples (least squares)."""
        return slope([(one.at_s / 3600, one.rss_mb) for one in self.samples])

    @property
    def descriptors_growth(self) -> float:
        """The same line's rise from the first sample to the last, in descriptors."""
        return slope([(one.at_s / 3600, float(one.descriptors)) for one in self.samples]) * self.hours

    def table(self) -> list[tuple[str, str]]:
        """Sixths of the run, so that a rise which has ended looks different from one which goes on."""
        size = max(1, len(self.samples) // 6)
        rows: list[tuple[str, str]] = []
        for first in range(0, len(self.samples), size):
            part = self.samples[first : first + size]
            span = f"{part[0].at_s / 60:.0f} to {part[-1].at_s / 60:.0f} min"
            rss = sum(one.rss_mb for one in part) / len(part)
            count = sum(one.descriptors for one in part) / len(part)
            rows.append((span, f"{rss:.2f} MB, {count:.1f} descriptors (mean of {len(part)})"))
        return rows


def slope(points: list[tuple[float, float]]) -> float:
    """Least squares; 0 where there is nothing to fit."""
    if len(points) < 2:
        return 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def rss_mb(pid: int) -> float:
    """Resident memory of a process, counted page by page by the kernel, in MB (2^20 bytes)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) / 1024
    raise LookupError("Rss")
