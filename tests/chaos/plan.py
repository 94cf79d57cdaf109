"""The schedule of a run: which jobs, which faults, and when. Pure: the same seed gives the same schedule."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KIB = 2**10
MIB = 2**20
Steps = tuple[list[Any], ...]

JOB_KINDS: Mapping[str, float] = {
    "plain": 46,
    "windows": 25,
    "tool": 10,
    "crash_once": 6,
    "stop_once": 2,
    "refused": 5,
    "raises": 3,
    "poison": 3,
}
"""Kinds of jobs and their weights; what each does is in _STEPS."""
ENDS_FAILED: Mapping[str, str] = {
    "refused": "CORRUPT_AUDIO",
    "raises": "PROCESSING_ERROR",
    "poison": "WORKER_CRASHED",
}
"""Kinds that have to end as failed, and with which code. All others have to be complete."""
CHAOS_FAULTS: Mapping[str, float] = {
    "parent_kill": 11,
    "parent_kill_at_start": 3,
    "parent_stop": 8,
    "parent_kill_in_drain": 3,
    "drain": 4,
    "drain_twice": 4,
    "child_kill": 20,
    "child_stop": 8,
    "tool_kill": 8,
    "disk_full": 8,
    "disk_error": 8,
    "upload_disk_full": 5,
    "client_reset": 14,
}
"""Kinds of faults and their weights; what each does is in faults.py."""
SOAK_FAULTS: Mapping[str, float] = {"child_kill": 1, "client_reset": 1}
SIZES: tuple[tuple[float, int, int], ...] = (
    (70, 2 * KIB, 64 * KIB),
    (26, 64 * KIB, 2 * MIB),
    (4, 2 * MIB, 40 * MIB),
)
"""Weight, smallest and largest file, in bytes."""


@dataclass(frozen=True, slots=True)
class JobPlan:
    """One submission. `number` is unique in the run and travels in the prompt, so that a job tells whose it is."""

    number: int
    at_s: float
    kind: str
    size_bytes: int
    steps: Steps
    key: str | None = None
    """Idempotency-Key; a client that has one sends again until it gets an answer."""
    cancel_after_s: float | None = None
    delete: bool = False
    """Delete the job once it has been seen to have ended."""


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """One fault. `draw` (0 to 1) chooses a victim or a moment among those that there are when it is time."""

    number: int
    at_s: float
    kind: str
    hold_s: float
    draw: float


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a seed decides."""

    seed: int
    seconds: float
    jobs: tuple[JobPlan, ...]
    faults: tuple[FaultPlan, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """How much of what a plan has."""

    seconds: float
    jobs_per_s: float
    fault_gap_s: float
    """Mean seconds from the start of one fault to that of the next."""
    fault_kinds: Mapping[str, float]
    spare_faults: int = 0
    """Faults planned beyond `seconds`, for a run on a slow machine that has to reach a number of them."""


def make_plan(seed: int, shape: Shape) -> Plan:
    """Jobs and faults each have a generator of their own: more of the ones does not change the others."""
    return Plan(seed, shape.seconds, tuple(_jobs(seed, shape)), tuple(_faults(seed, shape)))


def _jobs(seed: int, shape: Shape) -> list[JobPlan]:
    rng = random.Random(f"jobs of {seed}")
    jobs: list[JobPlan] = []
    at_s = 0.0
    while (at_s := at_s + rng.expovariate(shape.jobs_per_s)) < shape.seconds:
        jobs.append(_job(rng, len(jobs), at_s, seed))
    return jobs


def _job(rng: random.Random, number: int, at_s: float, seed: int) -> JobPlan:
    kind = _pick(rng, JOB_KINDS)
    _, smallest, largest = rng.choices(SIZES, [size[0] for size in SIZES])[0]
    size_bytes = int(smallest * (largest / smallest) ** rng.random())
    key = f"chaos-{seed}-{number}" if rng.random() < 0.3 else None
    cancel_after_s = rng.uniform(0, 2) if rng.random() < 0.06 else None
    delete = rng.random() < 0.1
    return JobPlan(number, at_s, kind, size_bytes, _steps(rng, kind), key, cancel_after_s, delete)


def _steps(rng: random.Random, kind: str) -> Steps:
    """What the scripted engine is told; see tests/fake_engine.py."""
    count = rng.randint(2, 6)
    pause = ["sleep", round(rng.uniform(0.02, 0.25), 3)]
    half: Steps = (["windows", count // 2], pause, ["windows", count])
    match kind:
        case "plain":
            return (["windows", 1],)
        case "windows":
            return tuple(step for n in range(count) for step in (["windows", n + 1], pause))
        case "tool":
            return (["tool", round(rng.uniform(0.2, 1.2), 3)], *half)
        case "crash_once":
            return (["windows", 1], ["on_attempt", 1, ["signal", "SIGKILL"]], *half)
        case "stop_once":
            return (["windows", 1], ["on_attempt", 1, ["signal", "SIGSTOP"]], *half)
        case "refused":
            return (["windows", 1], ["fail", "CORRUPT_AUDIO", "refused by its script"])
        case "raises":
            return (["raise", "by its script"],)
        case "poison":
            return (["windows", 1], ["tool_left", 30], ["signal", "SIGKILL"])
    raise ValueError(kind)


def _faults(seed: int, shape: Shape) -> list[FaultPlan]:
    rng = random.Random(f"faults of {seed}")
    faults: list[FaultPlan] = []
    bag: list[str] = []
    at_s = shape.fault_gap_s / 2
    spare = shape.spare_faults
    while at_s < shape.seconds or spare > 0:
        spare -= at_s >= shape.seconds
        bag = bag or _bag(rng, shape.fault_kinds, first=not faults)
        hold_s = round(rng.uniform(0.3, 1.6), 3)
        faults.append(FaultPlan(len(faults), at_s, bag.pop(), hold_s, rng.random()))
        at_s += rng.uniform(0.5, 1.5) * shape.fault_gap_s
    return faults


def _bag(rng: random.Random, weights: Mapping[str, float], *, first: bool) -> list[str]:
    """Kinds by weight; but every kind once in the first bag, so that a short run meets each of them."""
    kinds = list(weights)
    bag = list(kinds) if first else rng.choices(kinds, list(weights.values()), k=len(kinds))
    rng.shuffle(bag)
    return bag


def _pick(rng: random.Random, weights: Mapping[str, float]) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]
