"""Short recordings by one client and by several at once, this tree beside an earlier commit.

    python -W ignore bench/at_once.py --checkpoint base.pt --before COMMIT [--files 12] [--rounds 2] [--clients 8]
                                      [--slots 4] [--threads 2]

The recordings of short_files.py, on the CPU. Both workers are up, and at work in turns: all files by one client, then
by several. CPU time is that of all processes of a worker. same_text is the share of the files of which both gave the
same tokens, in all of these ways.
"""

import argparse
import asyncio
import json
import statistics
import time
from contextlib import ExitStack
from pathlib import Path

import aiohttp
from cold_start import ended, readiness, speech
from short_files import pieces, tree_cpu_s
from support import ROOT, Server, earlier_tree, report, server, spread, workplace

Tokens = list[list[int]]


async def one(session: aiohttp.ClientSession, path: Path) -> Tokens:
    """The tokens of one file's segments."""
    form = aiohttp.FormData()
    form.add_field("file", await asyncio.to_thread(path.read_bytes), filename=path.name)
    async with session.post("/v1/jobs", data=form) as response:
        job_id = (await response.json())["workerJobId"]
    if (await ended(session, job_id))["status"] != "complete":
        raise SystemExit(f"the job of {path.name} failed")
    async with session.get(f"/v1/jobs/{job_id}/transcript") as response:
        return [segment["tokens"] for segment in json.loads(await response.text())["segments"]]


async def by(at: Server, paths: list[Path], clients: int) -> tuple[dict[str, float], dict[str, Tokens]]:
    """Seconds, cores and tokens of all files from so many clients."""
    left, found = iter(paths), dict[str, Tokens]()
    async with aiohttp.ClientSession(at.url, headers=at.authorization) as session:

        async def client() -> None:
            for path in left:
                found[path.name] = await one(session, path)

        began, before = time.perf_counter(), tree_cpu_s(at.pid)
        await asyncio.gather(*(client() for _ in range(clients)))
        seconds, used_s = time.perf_counter() - began, tree_cpu_s(at.pid) - before
    return {f"by_{clients}_s": seconds, f"by_{clients}_cpu_s": used_s, f"by_{clients}_cores": used_s / seconds}, found


async def measure(both: dict[str, Server], paths: list[Path], options: argparse.Namespace) -> None:
    """All rounds, and the report."""
    rounds: list[dict[str, float]] = []
    tokens: dict[str, set[str]] = {path.name: set() for path in paths}
    for at in both.values():
        async with aiohttp.ClientSession(at.url, headers=at.authorization) as session:
            await readiness(session, loading=False)
        await by(at, paths[:1], 1)
    for number in range(options.rounds):
        figures: dict[str, float] = {}
        for clients in (1, options.clients):
            for name, at in both.items():
                one_way, found = await by(at, paths, clients)
                figures |= {f"{name}_{key}": value for key, value in one_way.items()}
                for file, text in found.items():
                    tokens[file].add(json.dumps(text))
        for name in both:
            figures[f"{name}_gain"] = figures[f"{name}_by_1_s"] / figures[f"{name}_by_{options.clients}_s"]
        rounds.append(figures)
        print(f"  round {number + 1}: " + ", ".join(f"{key} {value:.3g}" for key, value in figures.items()), flush=True)
    result = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    result["same_text"] = sum(len(texts) == 1 for texts in tokens.values()) / len(tokens)
    report("at_once", [(name, spread([one[name] for one in rounds])) for name in rounds[0]], result, rounds)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--before", required=True, help="the commit to compare with")
    parser.add_argument("--files", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--slots", default="4")
    parser.add_argument("--threads", default="2")
    options = parser.parse_args()
    settings = speech(options.checkpoint)
    settings |= {"WORKER_MAX_CONCURRENT_JOBS": options.slots, "WORKER_CPU_THREADS": options.threads}
    with workplace() as folder, earlier_tree(options.before) as earlier, ExitStack() as stack:
        both: dict[str, Server] = {}
        for name, tree in (("before", earlier), ("now", ROOT)):
            (folder / name).mkdir()
            both[name] = stack.enter_context(server(folder / name, tree=tree, **settings))
        asyncio.run(measure(both, pieces(folder, options.files), options))


if __name__ == "__main__":
    main()
