"""Recordings are decoded in their turn, whatever is still made of those before them."""

import logging
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from btworker.engine.cooperate.result import result_of
from btworker.engine.sound.ffmpeg import Audio, Limits
from btworker.engine.sound.pool import GrowingSound, SoundPool
from tests.media.recordings import SAMPLE
from tests.waiting import until

pytestmark = pytest.mark.speech
Then = Callable[[Audio, Callable[[], bool]], None]
PATIENCE_S = 60


class Held:
    """What is made of whole sound: each waits until it is let go, or until nobody wants it."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.let_go = threading.Event()

    def make(self, audio: Audio, canceled: Callable[[], bool]) -> None:
        """See SoundPool.decode."""
        self.begun.append(audio.path.name)
        until(lambda: self.let_go.is_set() or canceled(), within_s=PATIENCE_S)


@pytest.fixture
def held() -> Iterator[Held]:
    """Let go at the end, so that no thread is left."""
    held = Held()
    yield held
    held.let_go.set()


@pytest.fixture
def begin(tmp_path: Path) -> Callable[[str, Then], GrowingSound]:
    """Begins to decode a recording to a file of this name, one at a time."""
    pool = SoundPool(1)

    def begin(name: str, then: Then) -> GrowingSound:
        return pool.decode(SAMPLE, tmp_path / name, limits=Limits(3600, stall_s=60), emit=lambda _: None, then=then)

    return begin


def test_the_next_recording_is_decoded_while_something_is_made_of_the_one_before(
    begin: Callable[[str, Then], GrowingSound], held: Held
) -> None:
    """Its text waits for its sound alone; each is through only once all is made of it."""
    first, second = begin("first", held.make), begin("second", held.make)
    until(lambda: first.is_whole and second.is_whole and bool(held.begun), within_s=PATIENCE_S)
    assert second.audio.sample_count == first.audio.sample_count
    assert held.begun == ["first"], "as many at once as are decoded"
    held.let_go.set()
    for sound in (first, second):
        result_of(sound.through())
    assert held.begun == ["first", "second"]
    first.close()
    second.close()


def test_who_gives_up_does_not_wait_for_what_is_made_of_others(
    begin: Callable[[str, Then], GrowingSound], held: Held
) -> None:
    """A canceled job ends at once, and nothing is ever made of its sound."""
    first, second = begin("first", held.make), begin("second", held.make)
    until(lambda: second.is_whole and bool(held.begun), within_s=PATIENCE_S)
    closing = threading.Thread(target=second.close)
    closing.start()
    closing.join(PATIENCE_S)
    assert not closing.is_alive()
    first.close()  # which tells the one that is at work
    third = begin("third", held.make)
    held.let_go.set()
    result_of(third.through())
    third.close()
    assert held.begun == ["first", "third"]


def test_sound_is_through_though_nothing_could_be_made_of_it(
    begin: Callable[[str, Then], GrowingSound], caplog: pytest.LogCaptureFixture
) -> None:
    """The log says why; the sound is there, and the next one gets its turn."""

    def fail(sentence: str, _audio: Audio, _canceled: Callable[[], bool]) -> None:
        raise ValueError(sentence)

    with caplog.at_level(logging.ERROR):
        for name in ("first", "second"):
            sound = begin(name, partial(fail, f"{name} cannot be made"))
            result_of(sound.through())
            until(lambda: f"{name} cannot be made" in caplog.text, within_s=PATIENCE_S)  # noqa: B023 - called here
            assert sound.audio.sample_count
            sound.close()
