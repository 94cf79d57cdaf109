"""How fast the speech engine is, against openai-whisper, faster-whisper and transformers with the same weights.

    python -W ignore bench/engine.py [--part windows files way] [--rounds 5] [--threads 2] [--quick] [--device cuda]

windows: noise through models of the true shapes with random weights, tokens verified; against the machine's own roof.
files: an hour of speech with the demo model, WER beside the speed. way: upload to speaker-labelled files through the
real server. The peers are there after `make bench-peers`; without them the table says so. docs/benchmarks/engine.md
says how each figure is made.
"""

import argparse
import asyncio
import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from support import ROOT, keep_raw, report, server, workplace

from bench.speed import files, machine, way, windows
from bench.speed.contenders import WORD_TIMES
from bench.speed.figures import markdown_table, svg_bars, text_table
from bench.speed.gate import GateError
from bench.speed.peers import default_python
from bench.speed.recordings import dialogue_recordings, heldout_recordings
from bench.speed.report import Table, file_tables, speed_tables, stage_tables, way_tables, window_bars
from bench.speed.roof import Machine

PARTS = ("windows", "files", "way")
CPU_SHAPES, GPU_SHAPES = ("tiny",), ("large-v3", "turbo")
FIRST = ("tokens_equal", "decode_speedup_b16", "decode_speedup_b1", "window_speedup_b16", "files_speedup")
"""Of the RESULT line."""


@dataclass
class Findings:
    """All that a run has to tell."""

    about: dict[str, str]
    tables: dict[str, list[Table]] = field(default_factory=dict)
    """By what they are of."""
    result: dict[str, float] = field(default_factory=dict)
    raw: dict[str, Any] = field(default_factory=dict)
    bars: dict[str, str] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    """A sentence for each part that came to no end."""
    folder: Path | None = None
    """Of the JSON."""

    def show(self, what: str, tables: list[Table]) -> None:
        """On the terminal and in the JSON now, in the documents at the end; later ones of the same stand for these."""
        self.tables[what] = tables
        for table in tables:
            print(f"\n{table.title}\n{text_table(table.header, table.rows)}", flush=True)
        keep_raw("engine", self.result, self.document, folder=self.folder)

    @property
    def document(self) -> dict[str, Any]:
        """What is known so far."""
        tables = [asdict(table) for some in self.tables.values() for table in some]
        return {"about": self.about, **self.raw, "tables": tables, "failed": self.failed}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What goes wrong inside is a sentence, and the next part begins."""
        try:
            yield
        except (Exception, GateError) as error:  # noqa: BLE001 - the run gives a verdict whatever happens
            traceback.print_exc()
            self.failed.append(f"{name}: {type(error).__name__}: {str(error)[:200]}")
            print(f"  {self.failed[-1]}", flush=True)
            if isinstance(error, GateError):
                self.result["tokens_equal"] = 0.0
            keep_raw("engine", self.result, self.document, folder=self.folder)
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    @contextmanager
    def until_stopped(self) -> Iterator[None]:
        """Who ends this by SIGTERM, as timeout does, has a verdict of what is known by then."""
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            yield
        except KeyboardInterrupt:
            self.failed.append("stopped before its end")
            print(f"\n  {self.failed[-1]}", flush=True)


def options_of() -> argparse.Namespace:
    """The command line, with what depends on the device filled in."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--part", nargs="+", choices=PARTS, help="all; with --gpu windows and files")
    parser.add_argument("--rounds", type=int, default=5, help="of the windows, in turns")
    parser.add_argument("--file-rounds", type=int, default=3, help="of the files")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="CPU threads of every contender")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--shape", nargs="+", help="tiny on a CPU; large-v3 and turbo on a GPU")
    parser.add_argument("--batch", nargs="+", type=int, help="windows at once: 1 4 16 on a CPU, 1 16 64 on a GPU")
    parser.add_argument("--tokens", type=int, help="of each window in case F: 50 on a CPU, 100 on a GPU")
    parser.add_argument("--minutes", type=float, default=60.0, help="of audio for the files, and for the whole way")
    parser.add_argument("--peers", type=Path, default=default_python(), help="python of the peers' environment")
    parser.add_argument("--quick", action="store_true", help="two rounds, two minutes: to see that it works")
    parser.add_argument("--gpu", action="store_true", help="what make bench-gpu runs, in minutes")
    price = "what an hour of the GPU, or of this machine, costs: adds the price of an hour of audio"
    parser.add_argument("--price-per-hour", type=float, metavar="PRICE", help=price)
    parser.add_argument("--output", type=Path, default=ROOT / "bench-output", help="folder for the JSON and the plots")
    parser.add_argument("--keep", type=Path, help="folder for the tables, the plots and the JSON as documents")
    options = parser.parse_args()
    options.part = options.part or (["windows", "files"] if options.gpu else list(PARTS))
    if options.gpu:
        _for_bench_gpu(options)
    if options.quick:
        options.rounds, options.file_rounds = min(options.rounds, 2), 1
        options.minutes = min(options.minutes, 2.0)
    on_gpu = options.device == "cuda"
    options.shape = options.shape or (GPU_SHAPES if on_gpu else CPU_SHAPES)
    options.batch = options.batch or ((1, 16, 64) if on_gpu else (1, 4, 16))
    options.tokens = options.tokens or (100 if on_gpu else 50)
    return options


def _for_bench_gpu(options: argparse.Namespace) -> None:
    """The engine on a GPU in a few minutes; where there is none, a toy on the CPU shows that all of it runs."""
    options.minutes, options.file_rounds = min(options.minutes, 5.0), 1
    if torch.cuda.is_available():
        options.device, options.rounds = "cuda", min(options.rounds, 3)
    else:
        print("There is no GPU that torch can use: this is a toy model on the CPU, to show that the bench runs.")
        options.device, options.shape, options.tokens = "cpu", ["toy"], 20
        options.batch = [min(batch, 4) for batch in options.batch or (1, 4)]
        options.rounds, options.minutes, options.keep = min(options.rounds, 2), 1.0, None


def run_windows(options: argparse.Namespace, roof: Machine, folder: Path, found: Findings) -> None:
    """Every shape; the first one's figures are the RESULT."""
    for shape in options.shape:
        with found.part(shape):
            run_shape(shape, options, roof, folder, found)


def run_shape(shape: str, options: argparse.Namespace, roof: Machine, folder: Path, found: Findings) -> None:
    """One shape: speeds as soon as they are there, then stages."""
    setting = windows.Setting(
        shape=shape,
        device=torch.device(options.device),
        batches=tuple(dict.fromkeys(options.batch)),
        tokens=options.tokens,
        rounds=options.rounds,
        threads=options.threads,
        gate_windows=4 if options.gpu else 16,
        peers_python=options.peers,
        most_s=120 if options.gpu else float("inf"),
        fewest=1 if options.gpu or options.quick else 4,
        in_full=options.gpu,
    )
    before = dict(found.result)

    def speeds(measured: windows.Windows) -> None:
        found.raw[shape] = measured.raw
        found.bars[shape] = svg_bars(f"{shape}: windows per second", window_bars(measured), unit="w/s")
        found.result = {**figures_of(shape, measured), **before}
        found.show(f"{shape}, speeds", speed_tables(measured, roof, options.price_per_hour))

    measured = windows.measure(setting, folder, speeds)
    found.raw[shape] = measured.raw
    found.show(f"{shape}, stages", stage_tables(measured, roof))


def figures_of(shape: str, measured: windows.Windows) -> dict[str, float]:
    """For the RESULT line. Windows a second are those of the goals: texts of 76 tokens in the mean, and with word times
    of as many as case F has."""
    result = {"tokens_equal": 1.0}
    for task, by_name in measured.seconds.items():
        name = ("decode" if task.encoded else "window") + f"_speedup_b{task.batch}"
        against = measured.against_openai(task)
        if task.case == "F" and against is not None:
            result[name] = against.median
        if task.case == "V" and windows.OURS in by_name:
            result[f"{shape}_windows_per_s_b{task.batch}"] = measured.rate(task, windows.OURS).median
        if task.case == "F" and WORD_TIMES in by_name:
            result[f"{shape}_word_times_windows_per_s_b{task.batch}"] = measured.rate(task, WORD_TIMES).median
    return result


def run_files(options: argparse.Namespace, folder: Path, found: Findings) -> None:
    """The demo model on whole recordings."""
    measured = files.measure(
        heldout_recordings(folder / "recordings", minutes=options.minutes),
        folder,
        device=torch.device(options.device),
        threads=options.threads,
        rounds=options.file_rounds,
        peers_python=options.peers,
    )
    found.raw["files"] = asdict(measured)
    found.result.setdefault("tokens_equal", 1.0)
    found.result["files_speedup"] = measured.against_openai(files.FAST).median
    found.result["files_speedup_exact"] = measured.against_openai(files.EXACT).median
    found.show("files", file_tables(measured, options.price_per_hour))


def run_way(options: argparse.Namespace, folder: Path, found: Findings) -> None:
    """Upload to speaker-labelled files."""
    recordings = dialogue_recordings(folder / "dialogues", minutes=options.minutes)
    settings = way.environment(device=options.device, threads=options.threads)
    at, fetched = folder / "server", folder / "fetched"
    at.mkdir()
    fetched.mkdir()
    with server(at, **settings) as running:
        measured = asyncio.run(way.measure(running.url, running.token, recordings, fetched))
    found.raw["way"] = asdict(measured)
    found.result["way_times_real_time"] = measured.times_real_time
    found.show("way", way_tables(measured))


def keep(found: Findings, raw: Path, folder: Path, began: float) -> None:
    """The tables as a document, and a plot for each shape."""
    folder.mkdir(parents=True, exist_ok=True)
    name = "engine-" + "-".join(found.about.get("card", "cpu").lower().split())
    lines = [f"# Speech engine: {found.about.get('card', found.about['processor'])}", ""]
    lines += [f"`{' '.join(['python', *sys.argv])}`, {time.strftime('%Y-%m-%d', time.gmtime(began))}", ""]
    lines += [markdown_table(["what", "value"], list(map(list, found.about.items()))), ""]
    for table in (table for some in found.tables.values() for table in some):
        lines += [f"## {table.title}", "", markdown_table(table.header, table.rows), ""]
    for shape, plot in found.bars.items():
        (folder / f"{name}-{shape}.svg").write_text(plot)
        lines += [f"![{shape}]({name}-{shape}.svg)", ""]
    (folder / f"{name}.md").write_text("\n".join(lines))
    (folder / f"{name}.json").write_text(raw.read_text())
    print(f"  kept in {folder / name}.md and .json")


def main() -> int:
    """Measure, print, write; 1 where a part came to no end."""
    options, began = options_of(), time.time()
    device = torch.device(options.device)
    options.output.mkdir(parents=True, exist_ok=True)
    machine.hold_threads(options.threads)
    found = Findings(machine.description(device), folder=options.output)
    roof = machine.measure(device, torch.float16 if device.type == "cuda" else torch.float32, small=options.quick)
    found.about["memory"] = f"{roof.bytes_per_s / 1e9:.3g} GB/s, measured"
    found.about["matrices"] = f"{roof.flop_per_s / 1e12:.3g} TFLOP/s, measured"
    with workplace() as folder, found.until_stopped():
        if "windows" in options.part:
            run_windows(options, roof, folder, found)
        if "files" in options.part:
            with found.part("files"):
                run_files(options, folder, found)
        if "way" in options.part:
            with found.part("way"):
                run_way(options, folder, found)
    for shape, plot in found.bars.items():
        (options.output / f"engine-{shape}.svg").write_text(plot)
    found.about["load after"] = f"{os.getloadavg()[0]:.2f}"
    found.about["took"] = f"{time.time() - began:.0f} s"
    result = {name: found.result[name] for name in sorted(found.result, key=_place)}
    path = report("engine", list(found.about.items()), result, found.document, folder=options.output)
    if options.keep:
        keep(found, path, options.keep, began)
    return 1 if found.failed else 0


def _place(name: str) -> tuple[int, str]:
    """Those that are looked at first come first."""
    return (FIRST.index(name) if name in FIRST else len(FIRST), name)


if __name__ == "__main__":
    sys.exit(main())
