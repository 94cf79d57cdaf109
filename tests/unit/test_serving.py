"""The start of the server, without a server."""

import gc
import weakref

from btworker.cli.serving import set_aside


class Ring:
    """Refers to itself: only the garbage collector finds it."""

    def __init__(self) -> None:
        self.itself = self


def test_the_collector_looks_at_what_came_after_the_start() -> None:
    """Garbage of the start is gone, what it has made is not looked at again, and later garbage is found."""
    early, late = weakref.ref(Ring()), None
    try:
        set_aside()
        assert early() is None
        assert gc.get_freeze_count() > 10 * len(gc.get_objects())
        late = weakref.ref(Ring())
        gc.collect()
        assert late() is None
    finally:
        gc.unfreeze()
