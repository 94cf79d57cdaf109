"""Chaos and soak from the command line.

    python -m tests.chaos --minutes 20 --seed 7     faults of every kind, one every three seconds
    python -m tests.chaos --soak-hours 1            modest load, 1 % faults, memory and descriptors of the parent

Exit code 1: something was lost, doubled, wrong or left over; the run's folder is then kept.
"""

import argparse
import asyncio
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.plan import CHAOS_FAULTS, SOAK_FAULTS, Shape
from tests.chaos.run import Run
from tests.chaos.server import ROOT
from tests.chaos.soak import Sampler

WARM_UP_S = 300.0
SHOWN = 40


def main() -> int:
    """See the module's docstring."""
    options = _options()
    seed = options.seed if options.seed is not None else secrets.randbelow(10**6)
    soak = options.soak_hours is not None
    print(f"seed {seed}, started {time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime())}", flush=True)
    base = options.folder or ROOT / "bench-output"
    base.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=base, prefix="soak-" if soak else "chaos-"))
    shape = _soak_shape(options) if soak else _chaos_shape(options)
    clean = asyncio.run(_go(folder, seed, shape, options))
    if clean:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        print(f"kept: {folder}", file=sys.stderr)
    return 0 if clean else 1


async def _go(folder: Path, seed: int, shape: Shape, options: argparse.Namespace) -> bool:
    run = Run(folder, seed=seed, shape=shape, min_faults=options.min_faults)
    sampler = Sampler(run.server, folder / "samples.jsonl", warm_up_s=options.warm_up_seconds)
    soak = options.soak_hours is not None
    await run.go(*([sampler.run()] if soak else []))
    _print_table(run.table() + (sampler.table() if soak else []))
    sentences = run.findings.sentences()
    for line in sentences[:SHOWN]:
        print(f"  {line}")
    if len(sentences) > SHOWN:
        print(f"  … and {len(sentences) - SHOWN} more")
    result: dict[str, float] = dict(run.result)
    if soak:
        result = {
            "hours": round(sampler.hours, 3),
            "jobs": result["accepted"],
            "faults": result["faults"],
            "rss_mb_per_hour": round(sampler.rss_mb_per_hour, 3),
            "descriptors_growth": round(sampler.descriptors_growth, 2),
            "lost": result["lost"],
            "doubled": result["doubled"],
        }
    print("RESULT " + " ".join(f"{name}={value:g}" for name, value in result.items()), flush=True)
    return run.findings.clean


def _print_table(rows: list[tuple[str, str]]) -> None:
    width = max(len(label) for label, _ in rows)
    for label, value in rows:
        print(f"  {label:<{width}}  {value}")


def _chaos_shape(options: argparse.Namespace) -> Shape:
    return Shape(
        seconds=options.minutes * 60,
        jobs_per_s=options.jobs_per_second,
        fault_gap_s=options.fault_gap_seconds,
        fault_kinds=CHAOS_FAULTS,
        spare_faults=options.min_faults * 2,
    )


def _soak_shape(options: argparse.Namespace) -> Shape:
    """One fault for a hundred jobs."""
    return Shape(
        seconds=options.soak_hours * 3600 + options.warm_up_seconds,
        jobs_per_s=options.jobs_per_second,
        fault_gap_s=100 / options.jobs_per_second,
        fault_kinds=SOAK_FAULTS,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, help="replay the schedule of an earlier run")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--soak-hours", type=float, help="soak for so long after the warm-up, instead of chaos")
    parser.add_argument("--jobs-per-second", type=float, default=2.5)
    parser.add_argument("--fault-gap-seconds", type=float, default=3.0, help="mean, from start to start")
    parser.add_argument("--min-faults", type=int, default=0, help="go on until there were so many, on a slow machine")
    parser.add_argument("--warm-up-seconds", type=float, default=WARM_UP_S)
    parser.add_argument("--folder", type=Path, help="where the run's folder goes; default: bench-output")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
