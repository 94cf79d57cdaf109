"""A long recording on one box, then on three: what of three boxes' speed arrives at it.

    python bench/fleet_spread.py [--parts 24] [--seconds 1]

Front end, boxes, the folder that children share and all bytes are real, over loopback, without Ray; the engine is
scripted (tests/fake_shares.py): a part of eight windows of 30 s has its sound (7.8 MB) and takes each box as long.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from pathlib import Path

from support import report, workplace

from btworker.jobs import JobStatus
from tests.fleet.fleet_of import Fleet, running_fleet
from tests.process.pool_of import ended, submit, transcript

WINDOW_FRAMES = 3000
BOX = {"WORKER_MAX_CONCURRENT_JOBS": "1"}


def main() -> None:
    """Measure, print the table and a RESULT line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--parts", type=int, default=24, help="of four minutes")
    parser.add_argument("--seconds", type=float, default=1.0, help="that a part takes a box")
    options = parser.parse_args()
    with workplace() as folder:
        one_s, three_s, helped = asyncio.run(measure(folder, options.parts, options.seconds))
    rows = [
        ("recording", f"{options.parts} parts, {options.parts * 4 / 60:.1f} hours; {options.seconds:g} s each"),
        ("one box", f"{one_s:.1f} s"),
        ("three boxes", f"{three_s:.1f} s; {helped} of {options.parts} parts elsewhere"),
    ]
    result = {"spread3_speedup": one_s / three_s, "parts_elsewhere": helped / options.parts}
    report("fleet_spread", rows, result, {"one_s": one_s, "three_s": three_s})


async def measure(folder: Path, parts: int, seconds: float) -> tuple[float, float, int]:
    """Seconds on one box and on three, and the parts that other boxes decoded of the latter."""
    step = ["share", parts, seconds, str(folder / "none"), seconds, WINDOW_FRAMES]
    async with running_fleet(folder, "one", box=BOX) as fleet:
        one_s, alone = await one_job(fleet, step)
        for name in ("two", "three"):
            fleet.add_box(name, **BOX)
        await fleet.until_ready("two", "three")
        three_s, spread = await one_job(fleet, step)
    if spread["segments"] != alone["segments"] or alone["helpers"]:
        raise SystemExit("the transcript is another one")
    return one_s, three_s, len(spread["helpers"])


async def one_job(fleet: Fleet, step: list[object]) -> tuple[float, dict[str, list[object]]]:
    """Seconds of a job, and its transcript."""
    began = time.monotonic()
    job = await ended(fleet.service, await submit(fleet.service, step), within_s=600)
    if job.status is not JobStatus.COMPLETE:
        raise SystemExit(f"the job failed: {job.error}")
    return time.monotonic() - began, transcript(fleet.service, job)


if __name__ == "__main__":
    main()
