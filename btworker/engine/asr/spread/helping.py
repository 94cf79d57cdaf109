"""Help with another process's recording, by a process that has no job of its own: windows, from the end."""

from collections.abc import Generator
from functools import partial
from pathlib import Path

from btworker.engine.asr.fast import WindowRequester, windows_ahead
from btworker.engine.asr.recognition import run_name, transcriber_of
from btworker.engine.asr.spread.shares import PART, Shares
from btworker.engine.asr.weights import Model
from btworker.engine.cooperate.side_by_side import side_by_side
from btworker.engine.cooperate.ticket import answers
from btworker.engine.sound.recording import Whole, samples_of
from btworker.jobs import Options
from btworker.logs import get_logger

log = get_logger()


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
    going: set[int] = set()

    async def part(number: int) -> int:
        if not shares.claim(number):
            return 0
        going.add(number)
        texts = await answers([requester.submit(window) for window in plan.part(number)])
        going.discard(number)
        shares.publish(number, texts)
        return len(texts)

    counts = yield from side_by_side(
        [partial(part, number) for number in reversed(range(plan.parts))],
        driver=model.decoder,
        may_begin=lambda: len(going) * PART < windows_ahead(model),
    )
    log.info("help_finished", windows=sum(counts))
    return sum(counts)
