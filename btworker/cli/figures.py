"""What `btworker bench` says: plain figures of a measurement, for people and as JSON. Pure."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from btworker.cli.load import Measurement
from btworker.cli.wording import clock, megabytes, printable, times
from btworker.client import Job

STAGE_NAMES = {"loadModel": "loading the model"}
PERCENTILES = {"median": 0.5, "p99": 0.99, "longest": 1.0}
NAMED = frozenset({"torch", "whisper", "openai-whisper", "pyannote.audio", "cuda"})
"""Versions that say something about speed."""
OTHER = "other"
"""Time at work that belongs to no stage: the way to the process and back."""


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


class Figures:
    """Of the jobs that have a result; the others are counted."""

    def __init__(self, found: Measurement, *, price_per_hour: float | None = None) -> None:
        """`price_per_hour` is that of a GPU, or of a machine without one, in any currency."""
        self._found = found
        self._price_per_hour = price_per_hour
        self._good = [(item, item.job) for item in found.jobs if item.job is not None and not item.problem]
        self.failures = [item.problem for item in found.jobs if item.problem]

    @property
    def _jobs(self) -> list[Job]:
        return [job for _, job in self._good]

    @property
    def audio_s(self) -> float:
        """Seconds of audio that were transcribed."""
        return sum(item.duration_s or 0.0 for job in self._jobs for item in job.inputs)

    @property
    def gpus(self) -> int:
        """Number of GPUs that had a job; 0 on a CPU."""
        return len({job.gpu for job in self._jobs if job.gpu})

    @property
    def audio_per_hour(self) -> float | None:
        """Hours of audio for an hour of each GPU that had a job, uploads included; of the machine, where none had."""
        paid_s = self._found.wall_s * max(self.gpus, 1)
        return self.audio_s / paid_s if paid_s and self.audio_s else None

    @property
    def price_of_audio(self) -> float | None:
        """Price of an hour of audio; None where it is not known what an hour costs."""
        if self._price_per_hour is None or self.audio_per_hour is None:
            return None
        return self._price_per_hour / self.audio_per_hour

    @property
    def at_work_s(self) -> float:
        """Seconds from each job's start to its end, added up."""
        return sum(map(_at_work, self._jobs))

    @property
    def waited_s(self) -> list[float]:
        """Seconds that each job waited for its start."""
        return [
            (job.started_at - job.created_at).total_seconds() for job in self._jobs if job.started_at and job.created_at
        ]

    @property
    def upload_speeds(self) -> list[float]:
        """Bytes a second of each upload."""
        return [item.size_bytes / max(item.upload_s, 1e-3) for item, _ in self._good]

    @property
    def first_texts_s(self) -> list[float]:
        """Seconds from the end of each upload to its first text."""
        return [item.first_text_s for item, _ in self._good if item.first_text_s is not None]

    @property
    def stages(self) -> dict[str, float]:
        """Share of the time at work, 0 to 1, by stage, the largest first."""
        seconds: dict[str, float] = {}
        for job in self._jobs:
            for name, took_s in job.timings_s.items():
                seconds[name] = seconds.get(name, 0.0) + took_s
        total_s = max(self.at_work_s, sum(seconds.values()), 1e-9)
        seconds[OTHER] = total_s - sum(seconds.values())
        return {name: took_s / total_s for name, took_s in sorted(seconds.items(), key=lambda item: -item[1])}

    def to_dict(self) -> dict[str, Any]:
        """Everything, with units in the names."""
        found, health = self._found, self._found.health_ms
        return {
            **self._setting(),
            "jobs": len(found.jobs),
            "concurrency": found.concurrency,
            "failed": self.failures,
            "audioSeconds": self.audio_s,
            "bytes": sum(item.size_bytes for item, _ in self._good),
            "wallSeconds": found.wall_s,
            "timesRealTime": self.audio_s / found.wall_s if found.wall_s else None,
            "timesRealTimeAtWork": self.audio_s / self.at_work_s if self.at_work_s else None,
            "gpus": self.gpus,
            "audioHoursPerGpuHour": self.audio_per_hour if self.gpus else None,
            "pricePerHour": self._price_per_hour,
            "pricePerAudioHour": self.price_of_audio,
            "uploadBytesPerSecond": self.upload_speeds,
            "firstTextSeconds": self.first_texts_s,
            "queueSeconds": self.waited_s,
            "stageShares": self.stages,
            "healthLiveMs": {
                "looks": len(health),
                "unanswered": found.unanswered,
                **({name: percentile(health, share) for name, share in PERCENTILES.items()} if health else {}),
            },
        }

    def rows(self) -> list[tuple[str, str]]:
        """A table for people."""
        found, setting = self._found, self._setting()
        versions = ", ".join(f"{name} {version}" for name, version in setting["versions"].items() if name in NAMED)
        rows = [
            ("worker", f"{setting['url']}, btworker {setting['version']}, {setting['slots']} at once"),
            ("model", f"{setting['model']} on {setting['device']}"),
            ("versions", versions),
            ("jobs", f"{len(found.jobs)}, {found.concurrency} on their way at once; {len(self.failures)} failed"),
        ]
        if self._good:
            rows += self._measured()
        rows += [("failed", text) for text in dict.fromkeys(self.failures)]
        return [(name, printable(value)) for name, value in rows if value]

    def _measured(self) -> list[tuple[str, str]]:
        wall_s, work_s, speeds = max(self._found.wall_s, 1e-9), self.at_work_s, self.upload_speeds
        shares = ", ".join(f"{STAGE_NAMES.get(name, name)} {100 * share:.0f} %" for name, share in self.stages.items())
        whole = f"{clock(self.audio_s)} of audio in {wall_s:.1f} s, uploads included"
        typical, slowest = megabytes(statistics.median(speeds)), megabytes(min(speeds))
        size = megabytes(sum(item.size_bytes for item, _ in self._good))
        return [
            ("speed", f"{times(self.audio_s / wall_s)} real time: {whole}"),
            ("costs", self._costs()),
            ("at work", f"{times(self.audio_s / work_s)} real time for each job" if work_s else ""),
            ("stages", shares),
            ("upload", f"{typical}/s (median; slowest {slowest}/s), {size} in all"),
            ("first text", _spread(self.first_texts_s, "after its upload")),
            ("waiting", _spread(self.waited_s, "in the queue")),
            ("/health/live", self._health()),
        ]

    def _costs(self) -> str:
        """How much audio an hour of a GPU, or of the machine, is worth, and its price."""
        if self.audio_per_hour is None:
            return ""
        whose = {0: "this machine", 1: "a GPU"}.get(self.gpus, f"a GPU ({self.gpus} had jobs)")
        text = f"{self.audio_per_hour:.3g} hours of audio for an hour of {whose}"
        if self.price_of_audio is None:
            return text
        return f"{text}: {self.price_of_audio:.3g} each, at {self._price_per_hour:g} an hour"

    def _health(self) -> str:
        health = self._found.health_ms
        lost = f", {self._found.unanswered} without an answer" if self._found.unanswered else ""
        if not health:
            return f"never answered{lost}"
        shown = ", ".join(f"{name} {percentile(health, share):.1f}" for name, share in PERCENTILES.items())
        return f"{shown} ms of {len(health)} looks{lost}"

    def _setting(self) -> dict[str, Any]:
        """Where this was measured."""
        ping, job = self._found.ping, next((item.job for item in self._found.jobs if item.job), None)
        return {
            "url": self._found.url,
            "version": ping.get("version"),
            "slots": ping.get("maxConcurrentJobs"),
            "model": job.model if job else None,
            "device": ping.get("gpuName") or "the CPU",
            "versions": dict(self._found.versions),
        }


def _at_work(job: Job) -> float:
    if not (job.started_at and job.finished_at):
        return 0.0
    return (job.finished_at - job.started_at).total_seconds()


def _spread(values_s: Sequence[float], what: str) -> str:
    if not values_s:
        return ""
    return f"{statistics.median(values_s):.1f} s {what} (median; longest {max(values_s):.1f} s)"
