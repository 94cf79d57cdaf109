"""Fair shares: the order of the waiting jobs over keys, as tables, as properties, and played through."""

import itertools
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from btworker.jobs import Job, JobId, Options
from btworker.pool.placing import Vacancy, choose, place
from btworker.service.waiting import WaitingJobs
from tests.calls import calls_of

HOUR_S, CLIP_S, SHORT_S = 3600.0, 20.0, 60.0


def job(
    name: str, owner: str = "", audio_s: float = HOUR_S, *, priority: int = 5, arrival: int = 0, at: float = 0.0
) -> Job:
    """A waiting job, accepted as this one at this time."""
    options = Options(model="a", priority=priority)
    return Job(JobId(name), options, (), at, owner=owner, expected_audio_s=audio_s, arrival=arrival)


def queue(*jobs: Job, weights: dict[str, float] | None = None, head_start_s: float = 12 * HOUR_S) -> WaitingJobs:
    """A queue with these jobs."""
    waiting = WaitingJobs(lambda owner: (weights or {}).get(owner, 1.0), short_s=SHORT_S, head_start_s=head_start_s)
    for one in jobs:
        waiting.add(one)
    return waiting


def taken(waiting: WaitingJobs, count: int = 1000) -> str:
    """Names in the order in which the jobs start, joined."""
    found = []
    while len(waiting) and len(found) < count:
        found.append(next(iter(waiting)))
        waiting.take(found[-1])
    return " ".join(found)


A = [job(f"a{n}", "a", arrival=n) for n in range(6)]
B = [job(f"b{n}", "b", arrival=n) for n in range(6)]


@pytest.mark.parametrize(
    ("jobs", "weights", "order"),
    [
        (A[:3], {}, "a0 a1 a2"),
        ([*A[:3], *B[:2]], {}, "a0 b0 a1 b1 a2"),
        ([*A[:4], *B[:2]], {"a": 2.0}, "a0 b0 a1 a2 b1 a3"),
        ([*A[:2], job("b", "b", 2 * HOUR_S), job("bb", "b")], {}, "a0 b a1 bb"),
        ([job("a", "a", 2 * HOUR_S), job("aa", "a"), *B[:3]], {}, "a b0 b1 aa b2"),
        ([job("x", "a"), job("y", "a", priority=9), *B[:1]], {}, "y b0 x"),
        ([*A[:2], *B[:1], job("clip", "b", CLIP_S)], {}, "clip a0 b0 a1"),
        ([*A[:2], job("clip", "a", CLIP_S, priority=0), job("c", "b", CLIP_S)], {}, "c a0 a1 clip"),
        ([job("late", "a", arrival=2, at=1.0), job("early", "a", arrival=1, at=99.0)], {}, "early late"),
    ],
    ids=[
        "one key",
        "two keys",
        "weights",
        "long",
        "longer",
        "priority inside",
        "a clip",
        "priority of clips",
        "age, not the clock",
    ],
)
def test_the_order_of_keys(jobs: list[Job], weights: dict[str, float], order: str) -> None:
    """As written: the key that has had the least, over its weight; inside a key by priority, then clips, then age."""
    waiting = queue(*jobs, weights=weights)
    assert " ".join(waiting) == order
    assert [waiting.position(JobId(name)) for name in order.split()] == list(range(len(jobs)))
    assert taken(waiting) == order


def test_who_was_away_gains_nothing() -> None:
    """A key that comes late shares from then on, and does not catch up on what it had not asked for."""
    waiting = queue(*A)
    assert taken(waiting, 4) == "a0 a1 a2 a3"
    for one in B:
        waiting.add(one)
    assert taken(waiting) == "b0 a4 b1 a5 b2 b3 b4 b5"


def test_what_a_job_really_was_is_settled() -> None:
    """An estimate that was too high is given back at the job's end, one that was too low is owed; a start that came to
    nothing does not count."""
    waiting = queue(*A, *B)
    assert taken(waiting, 2) == "a0 b0"
    waiting.settle(A[0].id, 3 * HOUR_S)
    assert taken(waiting, 2) == "b1 b2"
    for one in (A[0], B[0], B[1]):
        waiting.settle(one.id, None)
    waiting.add(B[2])
    assert waiting.position(B[2].id) == 0
    assert taken(waiting) == "b2 a1 b3 a2 b4 a3 b5 a4 a5"


def test_a_flood_of_clips_is_one_keys_share() -> None:
    """Clips go before longer recordings up to the head start, and no further: they starve nobody."""
    clips = [job(f"c{n}", "a", 60.0) for n in range(600)]
    waiting = queue(*B[:1], *clips, head_start_s=2 * HOUR_S)
    order = taken(waiting).split()
    assert order.index("b0") == 120  # two hours of clips


def test_what_was_taken_out_leaves_no_trace() -> None:
    """Position, length and order without it; out twice is out once."""
    waiting = queue(*A[:3], *B[:2])
    assert waiting.discard(A[0].id) and not waiting.discard(A[0].id)
    assert waiting.position(A[0].id) is None and (waiting.of("a"), waiting.of("b"), waiting.of("c")) == (2, 2, 0)
    assert (taken(waiting), len(waiting)) == ("a1 b0 a2 b1", 0)


STEPS = st.lists(
    st.tuples(
        st.sampled_from("add add add take take discard end lose".split()),
        st.integers(0, 3),
        st.floats(1.0, 50_000.0),
        st.integers(0, 9),
    ),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, weights=st.lists(st.floats(0.1, 10.0), min_size=4, max_size=4))
def test_whatever_comes_and_goes_the_order_holds(steps: Any, weights: list[float]) -> None:
    """Each job that waits is in the order once, at its position; each key's own jobs are in their own order; and what
    starts next is what the order says."""
    waiting = queue(weights=dict(zip("0123", weights, strict=True)))
    here: dict[JobId, Job] = {}
    running: list[Job] = []
    for number, (what, owner, audio_s, priority) in enumerate(steps):
        if what == "add":
            one = job(f"j{number}", str(owner), audio_s, priority=priority, arrival=number)
            waiting.add(one)
            here[one.id] = one
        elif what == "take" and here:
            first = next(iter(waiting))
            waiting.take(first)
            running.append(here.pop(first))
        elif what == "discard" and here:
            gone = sorted(here)[owner % len(here)]
            assert waiting.discard(gone)
            del here[gone]
        elif running:
            one = running.pop()
            if what == "end":
                waiting.settle(one.id, audio_s)
            else:
                waiting.add(one)
                here[one.id] = one
        for key in "0123":
            coming = [one for one in (*here.values(), *running) if one.owner == key]
            assert waiting.coming_s(key) == pytest.approx(sum(one.expected_audio_s for one in coming), abs=1e-3)
        order = list(waiting)
        assert sorted(order) == sorted(here) and len(waiting) == len(here)
        assert [waiting.position(one) for one in order] == list(range(len(order)))
        for key in "0123":
            own = [here[one] for one in order if here[one].owner == key]
            assert own == sorted(
                own, key=lambda one: (-one.options.priority, one.expected_audio_s > SHORT_S, one.arrival)
            )


@settings(max_examples=100, deadline=None)
@given(
    sizes=st.lists(st.lists(st.floats(61.0, 40_000.0), min_size=1, max_size=40), min_size=2, max_size=4),
    weights=st.lists(st.floats(0.25, 4.0), min_size=4, max_size=4),
)
def test_shares_are_fair_at_every_moment(sizes: list[list[float]], weights: list[float]) -> None:
    """While two keys both wait, what they got over their weights differs by no more than the largest job of each: the
    bound of start-time fair queueing."""
    share = dict(zip("0123", weights, strict=True))
    jobs = [[job(f"{key}-{n}", str(key), size) for n, size in enumerate(own)] for key, own in enumerate(sizes)]
    waiting = queue(*itertools.chain(*jobs), weights=share)
    by_id = {one.id: one for one in itertools.chain(*jobs)}
    got: Counter[str] = Counter()
    largest = {str(key): max(own) / share[str(key)] for key, own in enumerate(sizes)}
    while len(waiting):
        first = next(iter(waiting))
        waiting.take(first)
        one = by_id[first]
        got[one.owner] += one.expected_audio_s / share[one.owner]
        for a, b in itertools.combinations([key for key in share if waiting.of(key)], 2):
            assert abs(got[a] - got[b]) <= largest[a] + largest[b] + 1e-6 * sum(got.values())


def played(clip_slots: int | str, slots: int = 1, speed: float = 30.0) -> list[float]:
    """Seconds that another key's clips wait while one key has 10,000 files of up to two hours: by the worker's own line
    and placing, in simulated time. Each moment is one at which a job comes or ends. "auto": as WORKER_SHORT_SLOTS."""
    luck = random.Random(27)
    flood = [job(f"f{n}", "flood", luck.uniform(600, 2 * HOUR_S), arrival=n) for n in range(10_000)]
    comes = sorted(luck.uniform(0, 40_000) for _ in range(60))
    clips = [job(f"c{n}", "other", luck.uniform(3, SHORT_S), arrival=n, at=at) for n, at in enumerate(comes)]
    waiting = queue(*flood)
    live = {one.id: one for one in (*flood, *clips)}
    ends: dict[JobId, float] = {}
    waits = []
    places = 1 if isinstance(clip_slots, str) else clip_slots
    at_work: dict[JobId, bool] = {}

    def goes_beside(one: Job) -> bool:
        return (clip_slots != "auto" or waiting.has_several_owners) and one.expected_audio_s <= SHORT_S

    while len(waits) < 60:
        now = min([*ends.values(), *(one.created_at for one in clips[:1])])
        for done in [name for name, at in ends.items() if at <= now]:
            del ends[done]
            waiting.settle(done, live[done].expected_audio_s)
        while clips and clips[0].created_at <= now:
            waiting.add(clips.pop(0))
        while True:
            long = sum(not at_work[name] for name in ends)
            free = min(slots - long, slots + places - len(ends))
            room = [Vacancy(0, "a", len(ends), free, slots + places - len(ends) - free)]
            found, _ = choose((live[name] for name in waiting), room, goes_beside)
            if found is None:
                break
            one, at_work[found] = live[found], goes_beside(live[found])
            assert place(room, model="a", alone=False, is_clip=at_work[found]) == 0
            waiting.take(found)
            ends[found] = now + one.expected_audio_s / speed
            if one.owner == "other":
                waits.append(now - one.created_at)
    return waits


def test_ten_thousand_files_delay_another_keys_clip_by_one_turn() -> None:
    """With a place for clips, as by default, a clip waits for other clips alone: at most the longest of them. Without
    one it waits for a slot: the rest of one recording, and never for a second one, let alone for 10,000."""
    assert max(played(clip_slots="auto")) <= 2 * SHORT_S / 30.0
    assert max(played(clip_slots=1)) <= 2 * SHORT_S / 30.0
    without = played(clip_slots=0)
    assert 0 < max(without) <= 2 * HOUR_S / 30.0 + SHORT_S


def test_a_position_costs_the_same_in_a_long_line() -> None:
    """Each submission is answered with its place: of the only key, a thousand jobs that wait cost no more than ten."""
    costs = []
    for count in (10, 1000):
        waiting = queue(*(job(f"j{number}", arrival=number) for number in range(count)))
        costs.append(calls_of(lambda waiting=waiting, count=count: waiting.position(JobId(f"j{count - 1}"))))
        assert waiting.position(JobId(f"j{count - 1}")) == count - 1
    assert costs[0] == costs[1]
