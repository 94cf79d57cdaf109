"""Help with another process's recording, by a process that has no job of its own: windows, from the end."""

import time
from collections.abc import Generator
from pathlib import Path

from btworker.engine.asr.fast import WindowRequester, windows_ahead
from btworker.engine.asr.recognition import run_name, transcriber_of
from btworker.engine.asr.spread.shares import Shares
from btworker.engine.asr.weights import Model
from btworker.engine.cooperate.side_by_side import side_by_side
from btworker.engine.cooperate.ticket import Condition, answers
from btworker.engine.sound.recording import Whole, samples_of
from btworker.jobs import Options
from btworker.logs import get_logger
from btworker.shared_windows import parts_of

log = get_logger()
SOUND_POLL_S = 0.1
"""Seconds between two looks for the sound of another part."""


def help_with(
    model: Model, shares: Shares, options: Options, sha256: str, *, take: int = 0
) -> Generator[None, None, int]:
    """Decode parts that no process has until there are none; yields after each step, returns the number of windows.

    Raises OSError where the job has ended meanwhile.
    """
    plan = shares.plan
    if plan.run != run_name(model, sha256, options, take=take):
        return 0  # other versions, or another model: it would not be the same text
    sound = Whole(samples_of(Path(plan.sound), plan.samples, first=plan.first))
    requester = WindowRequester(model, sound, options, transcriber_of(model, options, sha256, plan.language))
    todo = list(reversed(range(plan.parts)))

    async def lane() -> int:
        """Decode one part after the other."""
        count = 0
        while (number := await _next_part(shares, todo)) is not None:
            texts = await answers([requester.submit(window) for window in plan.part(number)])
            shares.publish(number, texts)
            count += len(texts)
        return count

    lanes = max(parts_of(windows_ahead(model)), 1)
    counts = yield from side_by_side([lane] * lanes, driver=model.decoder, may_begin=lambda: True)
    log.info("help_finished", windows=sum(counts))
    return sum(counts)


async def _next_part(shares: Shares, todo: list[int]) -> int | None:
    """Claim the last part that no process has, and wait for one where its sound is still to come; None: none is left.

    Raises OSError where the job has ended meanwhile.
    """
    while True:
        for number in tuple(todo):
            if shares.claim(number):
                todo.remove(number)
                return number
        if not shares.may_grow:
            return None
        await _after(SOUND_POLL_S)


def _after(seconds: float) -> Condition:
    """Return what is done after so many seconds."""
    at = time.monotonic() + seconds
    return Condition(lambda: time.monotonic() >= at)
