"""ffmpeg in a small pool, for all jobs of a child: sound is decoded ahead, while the model is at work.

What is made of a recording's whole sound has threads of its own: text waits for sound, and nobody's text for that.
"""

import threading
from collections.abc import Callable, Generator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np

from btworker.engine.cooperate.ticket import Condition
from btworker.engine.sound.decoding import decode
from btworker.engine.sound.ffmpeg import Audio, DecodeProgress, Limits
from btworker.engine.sound.layout import Wanted
from btworker.engine.sound.recording import Samples


class SoundPool:
    """At most `size` recordings are decoded at once, and something is made of as many that are; others wait for their
    turn."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._decoders = ThreadPoolExecutor(size, thread_name_prefix="ffmpeg")
        self._finishers = ThreadPoolExecutor(size, thread_name_prefix="whole-sound")

    def decode(
        self,
        source: Path,
        target: Path,
        *,
        limits: Limits,
        wanted: Wanted = Wanted(),  # noqa: B008 - frozen
        emit: Callable[[DecodeProgress], None],
        waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
        then: Callable[[Audio, Callable[[], bool]], None] = lambda _audio, _canceled: None,
    ) -> "GrowingSound":
        """Decode in the pool. Whoever begins it closes it; while it is waited for, it is inside `waiting`, and
        reports how far ffmpeg is. `then` is called with the whole sound, while the next one is decoded, and has until
        `through`; its second argument says whether nobody wants it any more."""
        sound = GrowingSound(target, emit, waiting)
        steps = decode(source, target, limits=limits, canceled=lambda: sound.closed, wanted=wanted)
        sound.follow(steps, self._decoders, self._finishers, then)
        return sound


class GrowingSound:
    """The sound of one file, while ffmpeg is at it and after that: see recording.Sound."""

    def __init__(
        self,
        target: Path,
        emit: Callable[[DecodeProgress], None],
        waiting: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._target = target
        self._emit = emit
        self._waiting = waiting
        self.closed = False
        """Nobody wants it any more."""
        self._progress = self._emitted = DecodeProgress(0, 0.0)
        self._decoding: Future[Audio] = Future()
        self._finishing: Future[None] | None = None
        self._through = threading.Event()
        """Set once no thread has anything to do with it any more."""

    def follow(
        self,
        steps: Generator[DecodeProgress, None, Audio],
        decoders: Executor,
        finishers: Executor,
        then: Callable[[Audio, Callable[[], bool]], None],
    ) -> None:
        """Decode it as soon as one of the decoders is free, then have a finisher call `then`; what that raises is
        logged, and goes no further."""
        may_begin = threading.Event()

        def work() -> Audio:
            may_begin.wait()
            while True:
                try:
                    self._progress = next(steps)
                except StopIteration as end:
                    audio: Audio = end.value
                    return audio

        def end(finishing: Future[None]) -> None:
            self._through.set()
            if not finishing.cancelled():
                finishing.result()  # what it raises is logged by whoever calls this

        def go_on(decoding: Future[Audio]) -> None:
            if decoding.cancelled() or decoding.exception():
                self._through.set()
                return
            self._finishing = finishers.submit(then, decoding.result(), lambda: self.closed)
            self._finishing.add_done_callback(end)
            if self.closed:  # which may have been too early to cancel it
                self._finishing.cancel()

        self._decoding = decoders.submit(work)
        self._decoding.add_done_callback(go_on)
        may_begin.set()  # not before: a callback that comes late is called by whoever adds it

    @property
    def is_whole(self) -> bool:
        """See Sound."""
        return self._decoding.done()

    @property
    def audio(self) -> Audio:
        """All of it, once it is whole."""
        return self._decoding.result(timeout=0)

    @property
    def samples(self) -> Samples:
        """See Sound."""
        if self.is_whole:
            return self.audio.samples
        count = self._progress.sample_count
        if not count:
            return np.empty(0, np.int16)
        try:
            return np.memmap(self._target, dtype="<i2", mode="r", shape=(count,))
        except FileNotFoundError:  # ffmpeg has failed this very moment, which is the error to tell
            self._decoding.result()
            raise

    @property
    def there_s(self) -> float:
        """Seconds of sound that are there."""
        return self._progress.seconds_done

    @property
    def expected_s(self) -> float:
        """See Sound."""
        return self._progress.seconds_done if self.is_whole else self._progress.seconds_total

    async def reach(self, count: int, /) -> None:
        """See Sound."""
        with self._waiting():
            while not self.has(count):
                if self._emitted is not self._progress:
                    self._emitted = self._progress
                    self._emit(self._emitted)
                await Condition(lambda: self.has(count) or self._emitted is not self._progress)
        if self.is_whole:
            self._decoding.result()

    async def through(self) -> None:
        """Wait until all is done that was to be done with the whole sound."""
        await Condition(self._through.is_set)

    def has(self, count: int, /) -> bool:
        """See Sound."""
        return self.is_whole or self._progress.sample_count >= count

    def close(self) -> None:
        """Kill an ffmpeg that is still at work, and wait for its end; what has not begun never does."""
        self.closed = True
        self._decoding.cancel()
        if self._finishing is not None:
            self._finishing.cancel()
        self._through.wait()
