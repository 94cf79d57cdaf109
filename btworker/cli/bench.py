"""`btworker bench`: how fast a worker is, as its clients see it; where none is named, this machine by itself.

Real jobs through the real API, a few at a time; nothing is estimated. What is measured stands in load.py, what is made
of it in figures.py. The jobs are deleted afterwards.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

from btworker.cli.connection import EXIT_JOB_FAILED, EXIT_USAGE, add_server_arguments, names_server, report, with_client
from btworker.cli.embedded import SAMPLE
from btworker.cli.figures import Figures
from btworker.cli.load import Load
from btworker.cli.own_worker import with_own_worker
from btworker.cli.recordings import NoRecordingError, named_by
from btworker.cli.tables import print_facts
from btworker.client import Client
from btworker.ffmpeg import SAMPLE_RATE, find_ffmpeg

EXAMPLES = """\
examples:
  btworker bench                                this machine, WORKER_MODEL
  btworker bench --server http://gpu-box:8477 --jobs 20 --concurrency 4
  btworker bench talk.mp3 --model large-v3 --diarize --json
  btworker bench --price-per-hour 2.49          what an hour of audio costs you
"""
MAKING_S = 120
"""Seconds that ffmpeg has to repeat the sample."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """What to send, how often, and where to."""
    parser = subparsers.add_parser(
        "bench",
        description="Measure a worker: real jobs, a few at a time. Without --server and WORKER_URL: this machine.",
        epilog=EXAMPLES,
    )
    what = "recordings, or folders of them, to send in turn (the sample recording, repeated)"
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help=what)
    parser.add_argument("--minutes", type=_minutes, default=2.0, metavar="M", help="length of the repeated sample (2)")
    parser.add_argument("--jobs", type=_count, metavar="N", help="jobs in all (twice as many as at once)")
    parser.add_argument(
        "--concurrency", type=_count, metavar="C", help="jobs on their way at once (one more than the worker does)"
    )
    parser.add_argument("--model", help="one of the worker's models (its default)")
    parser.add_argument("--language", metavar="CODE", help="what is spoken (detected; en for the sample)")
    parser.add_argument("--diarize", action="store_true", help="tell speakers apart as well")
    parser.add_argument(
        "--price-per-hour",
        type=_price,
        metavar="PRICE",
        help="what an hour of a GPU costs you (of the machine, where it has none): adds the price of an hour of audio",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    add_server_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure; 1 when a job failed."""
    try:
        files = named_by(args.files)
    except NoRecordingError as error:
        report(str(error))
        return EXIT_USAGE
    with tempfile.TemporaryDirectory(prefix="btworker-bench-") as folder:
        if not files:
            made = Path(folder) / "sample.wav"
            if problem := _repeat_sample(made, args.minutes * 60):
                report(f"{problem}; name a recording to send instead")
                return EXIT_USAGE
            files = [made]
            args.language = args.language or "en"
        return _measured(args, files)


def _measured(args: argparse.Namespace, files: list[Path]) -> int:
    options = {"model": args.model, "language": args.language, "diarizationEnabled": args.diarize or None}
    wanted = {name: value for name, value in options.items() if value is not None}

    async def work(client: Client) -> int:
        load = Load(client, files, {**wanted, "outputs": ["json"]}, jobs=args.jobs, concurrency=args.concurrency)
        figures = Figures(await load.run(), price_per_hour=args.price_per_hour)
        if args.json:
            print(json.dumps(figures.to_dict(), ensure_ascii=False, indent=2))
        else:
            print_facts(figures.rows())
        return EXIT_JOB_FAILED if figures.failures else 0

    return with_client(args, work) if names_server(args) else with_own_worker(args, work)


def _repeat_sample(target: Path, seconds: float) -> str:
    """Write the sample again and again, up to this length; what is wrong where that does not work."""
    ffmpeg = find_ffmpeg()
    if ffmpeg is None:
        return "there is no ffmpeg to repeat the sample recording with"
    command = [str(ffmpeg), "-nostdin", "-loglevel", "error", "-stream_loop", "-1", "-i", str(SAMPLE)]
    command += ["-t", str(seconds), "-ac", "1", "-ar", str(SAMPLE_RATE), str(target)]
    try:
        subprocess.run(command, check=True, timeout=MAKING_S, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError) as error:
        return f"the sample recording cannot be repeated ({type(error).__name__})"
    return ""


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0.1 <= minutes <= 600:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of minutes from 0.1 to 600")
    return minutes


def _price(text: str) -> float:
    try:
        price = float(text)
    except ValueError:
        price = 0.0
    if not 0 < price <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no price: a number above 0, without a currency")
    return price


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 10000")
    return int(text)
