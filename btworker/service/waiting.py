"""The waiting jobs, in the order in which they start: a fair share of the audio for each key. Pure.

Each key has a clock: the seconds of audio that were started for it, over its weight. The key whose clock is furthest
behind goes first (start-time fair queueing: Goyal, Vin and Cheng, 1996), so that keys that wait get as much audio as
each other, and a key with 10,000 files waits behind its own. Whoever was away gains nothing by it: the clock of a key
whose first job comes is set to that of the key whose turn it is.

Inside a key: higher priority first, then clips, then the older one, by the job table's count: a clock may be set. A
clip goes before everybody's longer recordings, unless its key is `head_start_s` ahead: many clips are as much audio as
one long recording.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from heapq import merge
from itertools import count

from btworker.jobs import Job, JobId

Place = tuple[int, bool, int, JobId]
"""In a line: priority, whether it is no clip, its arrival, its id."""
Turn = tuple[float, int, int, JobId]
"""Among all: where the key's clock is when it starts, the age of its line, its place there, its id."""
LEAST_S = 1.0
"""Seconds that a job counts for at least: each costs a turn, however short it is."""


class _Line:
    """The waiting jobs of one key."""

    def __init__(self, age: int) -> None:
        self.age = age
        self.places: list[Place] = []
        self.turns: list[Turn] | None = None
        """All turns in order; None where they have changed."""


class WaitingJobs:
    """The line of each key, and all of them as one. `weight_of` gives the weight of an owner, above 0; jobs of up to
    `short_s` seconds of audio are clips."""

    def __init__(
        self, weight_of: Callable[[str], float] = lambda _: 1.0, *, short_s: float = 0.0, head_start_s: float = 0.0
    ) -> None:
        self._weight_of = weight_of
        self._short_s = short_s
        self._head_start_s = head_start_s
        self._lines: dict[str, _Line] = {}
        self._jobs: dict[JobId, tuple[str, Place, float]] = {}
        """Owner, place and seconds of audio of each that waits."""
        self._started: dict[JobId, tuple[str, float]] = {}
        """Owner, and the seconds that it counted for, of each that was taken and has not ended."""
        self._coming_s: dict[str, float] = {}
        """Seconds of audio of each key's jobs that wait or have started."""
        self._clocks: dict[str, float] = {}
        self._now_s = 0.0
        """The clock of the key whose turn it was last: where a new line begins."""
        self._ages = count()
        self.changes = 0
        """How often a job came or went."""

    def __len__(self) -> int:
        return len(self._jobs)

    def __iter__(self) -> Iterator[JobId]:
        return (turn[-1] for turn in merge(*map(self._turns, self._lines)))

    def add(self, job: Job) -> None:
        """Queue a job. One that comes back keeps its place before younger ones, and its first start counts no more."""
        self.discard(job.id)
        if (started := self._started.pop(job.id, None)) is not None:
            self._advance(started[0], -started[1])
            self._expect(started[0], -started[1])
        cost_s = max(job.expected_audio_s, LEAST_S)
        is_long = job.expected_audio_s > self._short_s
        place = (-job.options.priority, is_long, job.arrival, job.id)
        line = self._lines.get(job.owner)
        if line is None:
            line = self._lines[job.owner] = _Line(next(self._ages))
            self._clocks[job.owner] = max(self._clocks.get(job.owner, 0.0), self._now_s)
        insort(line.places, place)
        self._jobs[job.id] = job.owner, place, cost_s
        self._expect(job.owner, cost_s)
        self._changed(job.owner)

    def discard(self, job_id: JobId) -> bool:
        """Take this job out, which does not start; False when it was not waiting."""
        found = self._jobs.pop(job_id, None)
        if found is None:
            return False
        owner, place, cost_s = found
        self._expect(owner, -cost_s)
        line = self._lines[owner]
        del line.places[bisect_left(line.places, place)]
        self._changed(owner)
        if not line.places:
            del self._lines[owner]
        return True

    def take(self, job_id: JobId) -> None:
        """Take out a job that starts: the clock of its key goes on."""
        owner, _, cost_s = self._jobs[job_id]
        self._now_s = max(self._now_s, min(self._clocks[waiting] for waiting in self._lines))
        self.discard(job_id)
        self._started[job_id] = owner, cost_s
        self._expect(owner, cost_s)
        self._advance(owner, cost_s)

    def settle(self, job_id: JobId, audio_s: float | None) -> None:
        """A job that had started has ended, after so many seconds of audio; None: as many as were expected."""
        started = self._started.pop(job_id, None)
        if started is not None:
            self._expect(started[0], -started[1])
        if started is not None and audio_s is not None:
            self._advance(started[0], max(audio_s, LEAST_S) - started[1])

    def of(self, owner: str) -> int:
        """How many jobs of one key wait."""
        line = self._lines.get(owner)
        return 0 if line is None else len(line.places)

    def by_owner(self) -> dict[str, int]:
        """How many wait, of each key that has any."""
        return {owner: len(line.places) for owner, line in self._lines.items()}

    @property
    def has_several_owners(self) -> bool:
        """Whether jobs of more than one key wait, or have started and not ended."""
        return len(self._coming_s) > 1

    def coming_s(self, owner: str) -> float:
        """Seconds of audio that are expected of a key's jobs, those that wait and those that have started."""
        return self._coming_s.get(owner, 0.0)

    def position(self, job_id: JobId) -> int | None:
        """How many jobs are before this one; None when it is not waiting."""
        found = self._jobs.get(job_id)
        if found is None:
            return None
        owner, place, _ = found
        in_line = bisect_left(self._lines[owner].places, place)
        others = [other for other in self._lines if other != owner]
        if not others:
            return in_line
        turn = self._all_turns(owner)[in_line]
        return in_line + sum(bisect_left(self._all_turns(other), turn) for other in others)

    def _expect(self, owner: str, seconds: float) -> None:
        self._coming_s[owner] = self._coming_s.get(owner, 0.0) + seconds
        if self._coming_s[owner] < LEAST_S / 2:  # nothing, but for the error of sums
            del self._coming_s[owner]

    def _advance(self, owner: str, seconds: float) -> None:
        clock = self._clocks.get(owner, self._now_s) + seconds / self._weight_of(owner)
        self._clocks[owner] = clock
        if owner in self._lines:
            self._changed(owner)
        elif clock <= self._now_s:  # as good as a key that never came
            del self._clocks[owner]

    def _changed(self, owner: str) -> None:
        self.changes += 1
        self._lines[owner].turns = None

    def _all_turns(self, owner: str) -> list[Turn]:
        line = self._lines[owner]
        if line.turns is None:
            line.turns = list(self._turns(owner))
        return line.turns

    def _turns(self, owner: str) -> Iterator[Turn]:
        """When each job of a key has its turn, on the clock of its key."""
        line, clock, weight = self._lines[owner], self._clocks[owner], self._weight_of(owner)
        turn_s = -math.inf
        for number, place in enumerate(line.places):
            head_start_s = 0.0 if place[1] else self._head_start_s
            turn_s = max(turn_s, clock - head_start_s)  # never before those of its own key that go first
            yield turn_s, line.age, number, place[-1]
            clock += self._jobs[place[-1]][2] / weight
