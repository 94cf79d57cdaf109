"""One model at a time, for several jobs."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from btworker.engine.job.model_slot import ModelSlot

DEADLINE_S = 20.0


def fine() -> None:
    """Nobody cancels."""


def test_jobs_of_one_model_share_it() -> None:
    """It is loaded once, and leased to both at the same time."""
    loads: list[str] = []
    slot: ModelSlot[str] = ModelSlot(lambda name: loads.append(name) or name.upper())
    both = threading.Barrier(2, timeout=DEADLINE_S)

    def job() -> str:
        with slot.lease("a", fine) as model:
            both.wait()
            return model

    with ThreadPoolExecutor(2) as pool:
        assert [future.result(DEADLINE_S) for future in (pool.submit(job), pool.submit(job))] == ["A", "A"]
    assert loads == ["a"]
    assert slot.name == "a"


def test_another_model_waits_for_those_before_it_and_stops_those_after_it() -> None:
    """Two jobs of `a` and one of `b` between them: a, b, a again, and never two models at once."""
    slot: ModelSlot[str] = ModelSlot(lambda name: name)
    order: list[str] = []
    first_has_it, let_first_go = threading.Event(), threading.Event()

    def first() -> None:
        with slot.lease("a", fine):
            first_has_it.set()
            assert let_first_go.wait(DEADLINE_S)
            order.append("first")

    asked: list[threading.Event] = [threading.Event(), threading.Event()]

    def later(index: int, name: str) -> None:
        def asked_now() -> None:
            asked[index].set()

        with slot.lease(name, asked_now) as model:
            order.append(model)

    with ThreadPoolExecutor(3) as pool:
        one = pool.submit(first)
        assert first_has_it.wait(DEADLINE_S)
        two = pool.submit(later, 0, "b")
        assert asked[0].wait(DEADLINE_S)  # it waits, since it looks whether it was canceled
        three = pool.submit(later, 1, "a")
        assert asked[1].wait(DEADLINE_S)
        let_first_go.set()
        for future in (one, two, three):
            future.result(DEADLINE_S)
    assert order == ["first", "b", "a"]


def test_who_waits_can_be_canceled() -> None:
    """And those behind get their turn."""
    slot: ModelSlot[str] = ModelSlot(lambda name: name)

    def cancel() -> None:
        raise InterruptedError

    with slot.lease("a", fine):
        with pytest.raises(InterruptedError), slot.lease("b", cancel):
            raise AssertionError("it was leased")
        with slot.lease("a", fine) as again:
            assert again == "a"


def test_a_model_that_cannot_be_loaded_leaves_the_slot_empty() -> None:
    """The error is the asking job's; the next one may ask for what can be had."""

    def load(name: str) -> str:
        if name == "broken":
            raise ValueError(name)
        return name

    slot: ModelSlot[str] = ModelSlot(load)
    with slot.lease("a", fine):
        pass
    with pytest.raises(ValueError, match="broken"), slot.lease("broken", fine):
        raise AssertionError("it was leased")
    assert slot.name == ""
    with slot.lease("a", fine) as model:
        assert model == "a"


def test_a_helper_has_what_is_loaded_or_nothing() -> None:
    """At once: no other model is loaded for it, it goes before nobody, and who needs another model waits for it."""
    slot: ModelSlot[str] = ModelSlot(lambda name: name)
    with slot.lease_if_loaded("a") as model:
        assert model is None
    with slot.lease("a", fine), slot.lease_if_loaded("b") as model:
        assert model is None
    asked = threading.Event()

    def job() -> str:
        def asked_now() -> None:
            asked.set()

        with slot.lease("b", asked_now):
            return slot.name

    with ThreadPoolExecutor(1) as pool:
        with slot.lease_if_loaded("a") as model:
            assert model == "a"
            following = pool.submit(job)
            assert asked.wait(DEADLINE_S)
            assert slot.name == "a"
            with slot.lease_if_loaded("a") as second:
                assert second is None, "it would go before the job that waits"
        assert following.result(DEADLINE_S) == "b"


def test_a_model_rests_when_the_last_job_has_given_it_back() -> None:
    """Not while another job uses it, and not for a look at another model."""
    rested: list[str] = []
    slot: ModelSlot[str] = ModelSlot(lambda name: name, rested.append)
    with slot.lease("a", fine):
        with slot.lease("a", fine), slot.lease_if_loaded("b") as other:
            assert other is None
        assert rested == []
    assert rested == ["a"]
    with slot.lease_if_loaded("a"):
        assert rested == ["a"]
    assert rested == ["a", "a"]
