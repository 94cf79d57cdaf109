"""ffmpeg in a small pool, for all jobs of a child: sound is decoded ahead, while the model is at work."""

from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from btworker.engine.media import Audio, DecodeProgress, Limits, decode
from btworker.engine.ticket import Ticket, answered


class SoundPool:
    """At most `size` ffmpegs at once; further recordings wait for their turn."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="ffmpeg")

    def decode(
        self, source: Path, target: Path, *, limits: Limits, canceled: Callable[[], bool]
    ) -> Generator[DecodeProgress | Ticket[Any], None, Audio]:
        """media.decode as a piece of side_by_side(). Left early, ffmpeg is killed and waited for."""
        ticket: Ticket[Audio] = Ticket()
        last = DecodeProgress(0.0, 0.0)

        def work() -> Audio:
            nonlocal last
            steps = decode(source, target, limits=limits, canceled=lambda: ticket.canceled or canceled())
            while True:
                try:
                    last = next(steps)
                except StopIteration as end:
                    audio: Audio = end.value
                    return audio

        future = self._threads.submit(work)
        future.add_done_callback(lambda done: _answer(ticket, done))
        told = last
        try:
            while not ticket.done:
                if told is not last:
                    yield (told := last)
                yield ticket
            return (yield from answered(ticket))
        finally:
            ticket.cancel()
            future.cancel()
            wait([future])


def _answer(ticket: Ticket[Audio], done: "Future[Audio]") -> None:
    if done.cancelled():
        return  # nobody waits for it
    error = done.exception()
    if error is None:
        ticket.resolve(done.result())
    else:
        ticket.fail(error)
