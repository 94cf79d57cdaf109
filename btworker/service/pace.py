"""How long a job takes here, learned from this worker's own finished jobs. Pure.

Before a job runs, its files are known by their size alone. So two things are learned: the seconds of audio in a byte,
by the end of a file's name, since a codec hardly changes among a client's recordings; and the seconds of work in a job,
by model, mode and device: some for any job, and some for each second of its audio.
"""

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from btworker.jobs import Input, Job, JobStatus, Options

KEPT = 64
"""Jobs that an estimate rests on, of each kind: the last ones, since drivers, loads and recordings change."""
MOST_KINDS = 256
"""Kinds that are remembered; names of files are a client's own."""
UNKNOWN_BYTES_PER_S = 4000
"""A recording at 32 kbit/s, as for the room that its sound takes (WORKER_DECODED_FACTOR)."""
ONE_LENGTH = 1e-6
"""Below this relative variance, jobs are all of one length, and no line can be fitted."""
LOAD_STAGE = "loadModel"
"""A change of the model belongs to the order of jobs, and not to the one that came first."""
Work = tuple[str, str, bool, str]
"""Model, mode, whether speakers are told apart, and what becomes of the channels."""
Kind = TypeVar("Kind")


@dataclass(frozen=True, slots=True)
class _Sample:
    """What a finished job or file was like: `x` is known beforehand, `y` is to be predicted."""

    x: float
    y: float


class _Samples:
    """The last samples of one kind. What follows from them is kept: it is asked for each job of the line."""

    def __init__(self, most: int = KEPT) -> None:
        self._last: deque[_Sample] = deque(maxlen=most)

    def add(self, sample: _Sample) -> None:
        """Take one in; the oldest goes."""
        self._last.append(sample)
        for kept in ("line", "ratio"):
            self.__dict__.pop(kept, None)

    @cached_property
    def line(self) -> tuple[float, float] | None:
        """See _line."""
        return _line(self._last)

    @cached_property
    def ratio(self) -> float | None:
        """How much `y` there is to an `x`; None without samples."""
        size = sum(one.x for one in self._last)
        return sum(one.y for one in self._last) / size if size else None


class Pace:
    """What was learned so far."""

    def __init__(self) -> None:
        self._work: dict[tuple[Work, str], _Samples] = {}
        self._audio: dict[str, _Samples] = {}
        self._files = _Samples(MOST_KINDS)
        """The last files of any kind."""

    def learn(self, job: Job) -> None:
        """Take in a finished job; one that is not complete teaches nothing."""
        work_s = sum(seconds for stage, seconds in job.timings if stage != LOAD_STAGE)
        audio_s = sum(_wanted_s(job.options, item.duration_s or 0.0) for item in job.inputs)
        if job.status is not JobStatus.COMPLETE or work_s <= 0 or audio_s <= 0:
            return
        _add(self._work, (_work_of(job.options), job.gpu or ""), _Sample(audio_s, work_s))
        for item in job.inputs:
            if item.duration_s and item.size_bytes:
                sample = _Sample(float(item.size_bytes), item.duration_s)
                _add(self._audio, _ending(item), sample)
                self._files.add(sample)

    def work_s(self, job: Job, devices: Collection[str]) -> float | None:
        """Estimate the seconds of work that a job is, the mean over these devices; None where none like it was done."""
        audio_s = [self._audio_s(item) for item in job.inputs]
        known = [_wanted_s(job.options, seconds) for seconds in audio_s if seconds is not None]
        kind = _work_of(job.options)
        learned = (self._work.get((kind, device)) for device in devices)
        lines = [one.line for one in learned if one is not None and one.line is not None]
        if not lines or len(known) < len(audio_s):
            return None
        return sum(start_s + slope * sum(known) for start_s, slope in lines) / len(lines)

    def audio_s(self, job: Job) -> float:
        """Estimate the seconds of audio that a job is, each channel by itself; at UNKNOWN_BYTES_PER_S where no file was
        ever decoded here."""
        known = ((self._audio_s(item), item.size_bytes / UNKNOWN_BYTES_PER_S) for item in job.inputs)
        sums = (_wanted_s(job.options, guess if seconds is None else seconds) for seconds, guess in known)
        return sum(sums) * job.options.expected_channels

    def _audio_s(self, item: Input) -> float | None:
        """Estimate a file's length: by files of its kind, else by all files."""
        if item.duration_s is not None:
            return item.duration_s
        ratio = self._audio.get(_ending(item), self._files).ratio
        return None if ratio is None else item.size_bytes * ratio


def _work_of(options: Options) -> Work:
    return options.model, options.decode, options.diarization_enabled, options.channels


def _wanted_s(options: Options, whole_s: float) -> float:
    """Seconds of a recording that a job is about: all of them, or those of its ranges."""
    ends = [(start, whole_s if end is None else min(end, whole_s)) for start, end in options.ranges or ((0.0, None),)]
    return sum(max(end - start, 0.0) for start, end in ends)


def _ending(item: Input) -> str:
    return item.filename.rpartition(".")[2].lower()[:16]


def _add(kinds: dict[Kind, _Samples], kind: Kind, sample: _Sample) -> None:
    if kind not in kinds and len(kinds) >= MOST_KINDS:
        del kinds[next(iter(kinds))]
    kinds.setdefault(kind, _Samples()).add(sample)


def _line(samples: Iterable[_Sample]) -> tuple[float, float] | None:
    """Fit y = start + slope x, neither below 0, by least squares of the relative error; None without samples."""
    rows = [(one.x, one.y, 1 / max(one.x, 1.0) ** 2) for one in samples]
    if not rows:
        return None
    weight = sum(w for _, _, w in rows)
    mean_x, mean_y = (sum(row[place] * row[2] for row in rows) / weight for place in (0, 1))
    spread = sum(w * (x - mean_x) ** 2 for x, _, w in rows)
    together = sum(w * (x - mean_x) * (y - mean_y) for x, y, w in rows)
    slope = together / spread if spread > ONE_LENGTH * weight * mean_x**2 else 0.0
    start = mean_y - slope * mean_x
    if slope <= 0 or start < 0:  # all of one length, or noise: in proportion
        return 0.0, sum(y for _, y, _ in rows) / sum(x for x, _, _ in rows)
    return start, slope
