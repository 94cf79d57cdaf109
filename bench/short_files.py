"""Short recordings, one after the other and from several clients at once, beside openai-whisper in one process.

    python -W ignore bench/short_files.py --checkpoint base.pt [--files 20] [--rounds 2] [--threads 2]
                                          [--clients 8] [--slots 4]

Pieces of people's speech (tests/data/real) of 3 to 11 s, on the CPU, with as many threads for both. One after the
other: a file to whisper's transcribe(), then the same file to the worker, from its upload to its complete job. Then
all files from several clients, with so many slots (WORKER_MAX_CONCURRENT_JOBS). CPU time is that of all processes of
each side.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import aiohttp
from cold_start import children_of, job_s, readiness, speech
from support import ROOT, Server, memory_mb, report, server, spread, workplace

RECORDINGS = ROOT / "tests" / "data" / "real"
PIECE_S = 11.0
LEAST_BYTES = 20_000
"""Below, it is the last moment of a recording."""
WHISPER = """
import json, sys, resource, time, warnings
import whisper
warnings.simplefilter("ignore")
model = whisper.load_model(sys.argv[1], device="cpu")
print("ready", flush=True)
for line in sys.stdin:
    began, before = time.perf_counter(), time.process_time()
    text = model.transcribe(line.strip(), fp16=False)["text"]
    print(json.dumps([time.perf_counter() - began, text]), flush=True)
"""


def ffmpeg() -> Path:
    """The worker's own."""
    from btworker.ffmpeg import find_ffmpeg

    found = find_ffmpeg()
    if found is None:
        raise SystemExit("there is no ffmpeg here")
    return found


def pieces(folder: Path, count: int) -> list[Path]:
    """So many recordings of at most PIECE_S seconds, as FLAC."""
    paths: list[Path] = []
    for source in sorted(RECORDINGS.glob("*.opus")) * count:
        pattern = folder / f"{len(paths):03}-%02d.flac"
        command = [str(ffmpeg()), "-v", "error", "-i", str(source), "-f", "segment", "-segment_time", str(PIECE_S)]
        subprocess.run([*command, "-c:a", "flac", str(pattern)], check=True)
        paths += [path for path in sorted(folder.glob(f"{len(paths):03}-*.flac")) if path.stat().st_size >= LEAST_BYTES]
        if len(paths) >= count:
            break
    return paths[:count]


@contextmanager
def whisper_process(checkpoint: Path, folder: Path, threads: int) -> Iterator["subprocess.Popen[str]"]:
    """openai-whisper with the checkpoint, loaded; it takes the same ffmpeg, which has to be called so."""
    (folder / "ffmpeg").symlink_to(ffmpeg())
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-c", WHISPER, str(checkpoint)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment, text=True, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def _ask(process: "subprocess.Popen[str]", path: Path) -> float:
    """Seconds of one file by whisper."""
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None
    _say(stdin, str(path))
    return float(json.loads(stdout.readline())[0])


def _say(stream: IO[str], line: str) -> None:
    stream.write(f"{line}\n")
    stream.flush()


def tree_cpu_s(pid: int) -> float:
    """Seconds of CPU of a process, of those it started, and of theirs that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK") + sum(tree_cpu_s(int(one)) for one in children)


async def one_by_one(at: Server, peer: "subprocess.Popen[str]", paths: list[Path]) -> dict[str, float]:
    """Seconds and CPU seconds of both, a file of theirs before the same of ours."""
    before = {"ours": tree_cpu_s(at.pid), "whisper": tree_cpu_s(peer.pid)}
    ours_s = whisper_s = 0.0
    async with aiohttp.ClientSession(at.url, headers=at.authorization) as session:
        for path in paths:
            whisper_s += await asyncio.to_thread(_ask, peer, path)
            ours_s += await job_s(session, path.read_bytes())
    return {
        "ours_s": ours_s,
        "whisper_s": whisper_s,
        "ours_cpu_s": tree_cpu_s(at.pid) - before["ours"],
        "whisper_cpu_s": tree_cpu_s(peer.pid) - before["whisper"],
    }


async def by_clients(at: Server, paths: list[Path], clients: int) -> dict[str, float]:
    """Seconds of all files from so many clients, and the cores that were busy with them: from the first file to the
    last, and as long as there was a file for each client, as where they never end."""
    left = iter(paths)
    began, before = time.perf_counter(), tree_cpu_s(at.pid)
    cores: list[float] = []

    async with aiohttp.ClientSession(at.url, headers=at.authorization) as session:

        async def client() -> None:
            for path in left:
                await job_s(session, path.read_bytes())
            cores.append((tree_cpu_s(at.pid) - before) / (time.perf_counter() - began))

        await asyncio.gather(*(client() for _ in range(clients)))
    seconds = time.perf_counter() - began
    used_s, name = tree_cpu_s(at.pid) - before, f"by_{clients}"
    return {
        f"{name}_s": seconds,
        f"{name}_cpu_s": used_s,
        f"{name}_cores": used_s / seconds,
        f"{name}_cores_while_all": cores[0],
    }


async def measure(at: Server, peer: "subprocess.Popen[str]", paths: list[Path], options: argparse.Namespace) -> None:
    """All rounds, and the report."""
    rounds: list[dict[str, float]] = []
    async with aiohttp.ClientSession(at.url, headers=at.authorization) as session:
        await readiness(session, loading=False)
    await one_by_one(at, peer, paths[:1])
    for number in range(options.rounds):
        figures = await one_by_one(at, peer, paths)
        for clients in (1, options.clients):
            figures |= await by_clients(at, paths, clients)
        figures["times_whisper"] = figures["whisper_s"] / figures["ours_s"]
        figures["cpu_of_whisper"] = figures["ours_cpu_s"] / figures["whisper_cpu_s"]
        figures["clients_gain"] = figures["by_1_s"] / figures[f"by_{options.clients}_s"]
        rounds.append(figures)
        print(
            f"  round {number + 1}: " + ", ".join(f"{name} {value:.3g}" for name, value in figures.items()), flush=True
        )
    [child] = children_of(at.pid)
    result = {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
    result |= {"child_rss_mb": memory_mb(child), "child_own_mb": memory_mb(child, "RssAnon")}
    rows = [(name, spread([one[name] for one in rounds])) for name in rounds[0]]
    rows.append(("child, MB (its own)", f"{result['child_rss_mb']:8.0f}  ({result['child_own_mb']:.0f})"))
    report("short_files", rows, result, rounds)


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--files", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--slots", default="4")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    with workplace() as folder:
        paths = pieces(folder, options.files)
        settings = {
            **speech(options.checkpoint),
            "WORKER_MAX_CONCURRENT_JOBS": options.slots,
            "WORKER_CPU_THREADS": str(options.threads),
        }
        with whisper_process(options.checkpoint, folder, options.threads) as peer, server(folder, **settings) as at:
            asyncio.run(measure(at, peer, paths, options))


if __name__ == "__main__":
    main()
