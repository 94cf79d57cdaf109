"""What one key leaves to others of the places that all share."""

from hypothesis import given
from hypothesis import strategies as st

from btworker.service.limits import places_left


@given(places=st.integers(1, 2000), keys=st.integers(1, 20))
def test_keys_that_take_what_they_can_leave_room_for_one_more(places: int, keys: int) -> None:
    """They get the same, none of them the last place, and most of all places are used."""
    has = [0] * keys
    while takers := [key for key in range(keys) if places_left(places, sum(has), has[key])]:
        for key in takers:
            has[key] += places_left(places, sum(has), has[key]) > 0
    assert sum(has) == places or places_left(places, sum(has), 0) > 0
    assert max(has) - min(has) <= 1
    assert sum(has) < places or max(has) == 1
    assert sum(has) >= places * 0.79 - keys


@given(places=st.integers(0, 500), taken=st.integers(0, 500), own=st.integers(0, 500))
def test_what_is_said_to_be_left_is_what_is_taken(places: int, taken: int, own: int) -> None:
    """One after the other."""
    taken, own = min(taken, places), min(own, taken, places)
    left = places_left(places, taken, own)
    for one in range(left):
        assert places_left(places, taken + one, own + one) == left - one
    assert taken + left <= places
