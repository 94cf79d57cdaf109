"""`btworker demo`: a sample recording becomes a transcript through the real thing, with nothing set up before.

    the real server (a subprocess, a free port, a fresh token, the embedded model)
        <- our client uploads the sample, waits, fetches the results -> their word error rate against the known text

Ends with 0 only if all of it was right: the job, its files, the words, and how the server stopped.
"""

import argparse
import asyncio
import json
import secrets
import sys
import tempfile
import textwrap
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from btworker.cli.board import board, summary
from btworker.cli.connection import report
from btworker.cli.embedded import CHECKPOINT, DEMO_MODEL, EMBEDDED, PIPELINE, SAMPLE, SPOKEN
from btworker.cli.local_server import TERMINATED, LocalServer, ServerError, stop_on_signals
from btworker.cli.wer import WordErrors, word_errors
from btworker.cli.wording import clock, megabytes, printable, times
from btworker.client import Client, ClientError, Job
from btworker.config import child_environment
from btworker.jobs import JobStatus

SPEAKERS = 2
"""People who speak in the sample."""
FORMATS = ("json", "md", "txt", "srt", "vtt", "tsv")
MAX_RATE = 0.10
"""Word error rate above which the demo counts as broken."""
JOB_TIMEOUT_S = 300.0
NEXT_STEPS = """\
Next, for any speech: a large model. The embedded one knows only a few words.
  WORKER_TOKEN=$(openssl rand -hex 32) {python} -m btworker serve
fetches large-v3 (3 GB, once) and runs it. README.md says how to go on."""


class DemoError(Exception):
    """Something was not as it should be: one sentence."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Where the results go."""
    parser = subparsers.add_parser(
        "demo",
        description="Start a real worker with the small embedded model, send it a sample recording, show the "
        "transcript, check it against the known text, and stop the worker.",
    )
    folder = Path("demo-output")
    parser.add_argument("--output-dir", type=Path, default=folder, metavar="DIR", help=f"for results (./{folder})")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """The demo; 0 if all of it was right."""
    missing = [path.name for path in (CHECKPOINT, SAMPLE, SPOKEN) if not path.is_file()]
    if missing:
        report(f"the demo's files are missing: {', '.join(missing)} in {EMBEDDED}; is the checkout complete?")
        return 1
    try:
        args.output_dir.mkdir(parents=True, exist_ok=True)
        return asyncio.run(_demo(args.output_dir))
    except asyncio.CancelledError:
        return TERMINATED
    except OSError as error:
        report(f"{error.filename or args.output_dir} cannot be written: {error.strerror}")
        return 1


async def _demo(folder: Path) -> int:
    stop_on_signals()
    with tempfile.TemporaryDirectory(prefix="server-data-", dir=folder, ignore_cleanup_errors=True) as data:
        token = secrets.token_urlsafe(24)
        server = LocalServer(server_environment(token, Path(data)), folder)
        try:
            await _through(server, token, folder)
        except (DemoError, ServerError) as error:
            report(str(error))
        except ClientError as error:
            report(error.message)
        else:
            print(NEXT_STEPS.format(python=_python()))
            return 0
    print(f"The end of the server's log, {server.log}:", file=sys.stderr)
    for line in server.tail():
        print(f"  {printable(line)[:400]}", file=sys.stderr)
    return 1


async def _through(server: LocalServer, token: str, folder: Path) -> None:
    """Start, transcribe, show, stop. Raises what went wrong."""
    began_at = time.monotonic()
    print("Starting a worker with the embedded model …", flush=True)
    async with server:
        print(f"It listens on {server.url} after {time.monotonic() - began_at:.1f} s.", flush=True)
        async with Client(server.url, token) as client:
            job = await transcribe(client)
            paths = [await client.download(job.id, o.filename, folder, sha256=o.sha256) for o in job.outputs]
        result = Result.read(job, paths)
        print("\n".join(result.lines()))
        result.check()
        code = await server.stop()
    if code != 0:
        raise DemoError(f"the server ended with exit code {code}")
    print("The worker has stopped cleanly.\n")


async def transcribe(client: Client) -> Job:
    """The sample's job, complete. Raises DemoError."""
    with board(rows=1) as bars:
        row = bars.row(SAMPLE.name)
        options = {"language": "en", "outputs": list(FORMATS), "diarizationEnabled": True}
        job = await client.submit([SAMPLE], options, on_progress=row.sending)
        try:
            job = await client.wait(job.id, on_update=row.working, timeout_s=JOB_TIMEOUT_S)
        except asyncio.TimeoutError:
            raise DemoError(f"the job did not end within {JOB_TIMEOUT_S:.0f} s") from None
        if job.status is not JobStatus.COMPLETE:
            raise DemoError(f"the job was {job.status.value}: {job.error_message}")
        row.done(summary(job))
    return job


@dataclass(frozen=True)
class Result:
    """What came out of the demo, and what should have."""

    job: Job
    paths: dict[str, Path] = field(default_factory=dict)
    """Results by format."""
    transcript: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, job: Job, paths: list[Path]) -> "Result":
        """Look into the files. Raises DemoError when one is missing."""
        kinds = {output.filename: output.type for output in job.outputs}
        found = {kinds[path.name]: path for path in paths if path.is_file() and path.stat().st_size}
        missing = [name for name in FORMATS if name not in found]
        if missing:
            raise DemoError(f"the job is complete, but has no {', '.join(missing)}")
        return cls(job, found, json.loads(found["json"].read_text("utf-8")))

    @property
    def errors(self) -> WordErrors:
        """How the transcript differs from what was spoken."""
        return word_errors(reference=SPOKEN.read_text("utf-8"), hypothesis=str(self.transcript["text"]))

    def lines(self) -> list[str]:
        """The transcript with times, then the figures."""
        segments = self.transcript["segments"]
        text = [
            f"  [{clock(s['start'])} - {clock(s['end'])}] {s.get('speaker', '?')}: {printable(str(s['text']).strip())}"
            for s in segments
        ]
        return ["", *text, "", self._quality(), self._who(), self._speed(), self._files(), ""]

    def check(self) -> None:
        """Raise DemoError when the words are not the spoken ones."""
        if self.errors.rate > MAX_RATE:
            raise DemoError(f"the word error rate is {self.errors.rate:.1%}, more than {MAX_RATE:.0%}")
        if len(self.speakers) != SPEAKERS:
            why = "; ".join(self.job.warnings) or "their voices were mixed up"
            raise DemoError(f"{len(self.speakers)} speakers were found instead of {SPEAKERS}: {why}")

    @property
    def speakers(self) -> list[str]:
        """Everybody who says something, by name."""
        return sorted({s["speaker"] for s in self.transcript["segments"] if "speaker" in s})

    def _who(self) -> str:
        return f"Speakers         {len(self.speakers)} ({', '.join(self.speakers)})"

    def _quality(self) -> str:
        errors = self.errors
        return f"Word error rate  {errors.rate:.1%} ({errors.errors} errors in {errors.words} words)"

    def _files(self) -> str:
        listing = f"Files            in {next(iter(self.paths.values())).parent}/: "
        names = ", ".join(path.name for path in self.paths.values())
        return textwrap.fill(listing + names, width=79, subsequent_indent=" " * 17)

    def _speed(self) -> str:
        audio_s = sum(item.duration_s or 0.0 for item in self.job.inputs)
        began, ended = self.job.started_at, self.job.finished_at
        took_s = max((ended - began).total_seconds(), 1e-3) if began and ended else float("inf")
        audio = f"{clock(audio_s)} of audio, {megabytes(self.job.inputs[0].size_bytes)}"
        return f"Speed            {times(audio_s / took_s)} real time ({audio}, in {took_s:.1f} s)"


def server_environment(token: str, data: Path) -> dict[str, str]:
    """The demo server's settings: nothing of the operator's own configuration shows through."""
    inherited = {name: value for name, value in child_environment().items() if not name.startswith("WORKER_")}
    return {
        **inherited,
        "WORKER_TOKEN": token,
        "WORKER_PORT": "0",
        "WORKER_DATA_DIR": str(data.absolute()),
        "WORKER_MODELS": f"{DEMO_MODEL}={CHECKPOINT}",
        "WORKER_MODEL": DEMO_MODEL,
        "WORKER_DIARIZATION_PIPELINE": str(PIPELINE),
        "WORKER_DEVICE": "cpu",
        "WORKER_CPU_THREADS": "1",  # its matrices are so small that a second thread costs more than it brings
        "WORKER_OFFLINE": "true",
        "WORKER_DISK_RESERVE_MB": "0",
        "WORKER_DRAIN_SECONDS": "5",
        "WORKER_LOG_FORMAT": "json",
    }


def _python() -> str:
    """How this Python was called, short where it lies below the current folder."""
    python, here = Path(sys.executable), Path.cwd()
    return str(python.relative_to(here)) if python.is_relative_to(here) else sys.executable
