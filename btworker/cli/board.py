"""The progress of several recordings on one screen: bars on a terminal, now and then a line elsewhere.

Written to stderr, so that stdout holds results only. One Row follows one recording from its upload to its end.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.cells import set_cell_size
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from btworker.cli.wording import clock, megabytes, printable, shortened, times
from btworker.client import Job
from btworker.jobs import JobStatus

PLAIN_INTERVAL_S = 10.0
"""Seconds between two lines about the same recording where there is no terminal."""
UPLOAD_PHASES = frozenset({"uploading", "uploaded"})
STAGES = {
    "downloading": "downloading",
    "initializing": "starting",
    "loading_model": "loading model",
    "transcribing": "transcribing",
    "diarizing": "diarizing",
    "uploading": "delivering",
}
"""The server's stages as a person reads them."""


class Row(ABC):
    """One recording. Says the same things on every kind of board."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._began_at = time.monotonic()
        self._sent_before: int | None = None

    def sending(self, sent_bytes: int, total_bytes: int) -> None:
        """Bytes went out; the first call may tell of what an earlier command has sent."""
        took_s = max(time.monotonic() - self._began_at, 1e-3)
        self._sent_before = sent_bytes if self._sent_before is None else self._sent_before
        if sent_bytes < total_bytes:
            pace = megabytes((sent_bytes - self._sent_before) / took_s)
            detail = f"{megabytes(sent_bytes)} of {megabytes(total_bytes)}, {pace}/s"
            self._show("uploading", 100 * sent_bytes / total_bytes, detail)
        else:
            self._show("uploaded", 100, f"{megabytes(total_bytes)} in {took_s:.1f} s")

    def working(self, job: Job) -> None:
        """The job was looked at."""
        if job.status is JobStatus.QUEUED and job.stage == "downloading":
            self._show(STAGES[job.stage], 0, "the worker fetches it")
        elif job.status is JobStatus.QUEUED:
            self._show("queued", 0, wait(job))
        elif job.status is JobStatus.RUNNING:
            self._show(STAGES.get(job.stage, job.stage), job.progress.percent, job.waiting_for or _speed(job))

    def away(self) -> None:
        """The worker does not answer, and has time to come back."""
        self._show("no answer", None, "trying again")

    def done(self, detail: str) -> None:
        """All went well."""
        self._show("done", 100, detail)

    def failed(self, reason: str) -> None:
        """It ended badly, and why."""
        self._show("failed", None, "")
        self.note(reason)

    @abstractmethod
    def note(self, text: str) -> None:
        """A sentence about this recording, of its own line."""

    def report(self, text: str) -> None:
        """A line of this recording's text."""
        self.note(text)

    @abstractmethod
    def _show(self, phase: str, percent: float | None, detail: str) -> None: ...


def _nothing() -> None:
    """Lines need no pause."""


@dataclass(frozen=True)
class Board:
    """All rows."""

    row: Callable[[str], Row]
    """Name of a recording -> its row, at the bottom of the board."""
    pause: Callable[[], None] = _nothing
    """Draw nothing more: something else stands on the terminal."""
    resume: Callable[[], None] = _nothing
    """Go on below what stands there now."""


@contextmanager
def board(*, rows: int) -> Iterator[Board]:
    """The board that fits stderr, for so many recordings: a single one gets two bars, which both stay."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal or console.is_dumb_terminal:
        yield Board(lambda name: _LineRow(name, console))
        return
    name_width = max(12, min(40, console.width // 5))
    bar_width = max(8, min(50, console.width - name_width - 53))
    with _bars(console, bar_width) as progress:
        yield Board(
            lambda name: _BarRow(
                name, progress, label=set_cell_size(shortened(name, name_width), name_width), bars=2 if rows == 1 else 1
            ),
            pause=progress.stop,
            resume=lambda: _go_on(progress),
        )


def _go_on(progress: Progress) -> None:
    """Draw again. rich would move up by what it drew last, over what was written meanwhile: so that much is added."""
    progress.console.line(len(progress.tasks))
    progress.start()


@contextmanager
def waiting(text: str) -> Iterator[Callable[[str], None]]:
    """What is waited for: a line with a spinner, which takes other texts and is gone after the block; elsewhere a line
    that stays."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal or console.is_dumb_terminal:
        console.print(f"{text} …", markup=False, soft_wrap=True)
        yield lambda _text: None
        return
    with console.status(Text(f"{text} …")) as status:
        yield lambda text: status.update(Text(f"{printable(text)} …"))


def _bars(console: Console, bar_width: int) -> Progress:
    return Progress(
        TextColumn("{task.fields[name]}", markup=False),
        TextColumn("{task.fields[phase]:<13}", markup=False),
        BarColumn(bar_width=bar_width),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[detail]}", markup=False),
        console=console,
    )


class _BarRow(Row):
    """One bar for the upload and one for the work, or the same for both."""

    def __init__(self, name: str, progress: Progress, *, label: str, bars: int) -> None:
        super().__init__(name)
        self._progress = progress
        self._label = label
        self._bars = bars
        self._tasks: list[TaskID] = []

    def _show(self, phase: str, percent: float | None, detail: str) -> None:
        wanted = 1 if phase in UPLOAD_PHASES else self._bars
        while len(self._tasks) < wanted:
            self._tasks.append(self._progress.add_task("", total=100, name=self._label, phase="", detail=""))
        self._progress.update(self._tasks[wanted - 1], completed=percent, phase=phase, detail=detail)

    def report(self, text: str) -> None:
        whose = "" if self._bars > 1 else f"{self._label.strip()} "
        self._progress.console.print(f"{whose}{printable(text)}", markup=False)

    def note(self, text: str) -> None:
        self._progress.console.print(f"{printable(self.name)}: {printable(text)}", markup=False)


class _LineRow(Row):
    """A line when something new happens, and now and then where there is news."""

    def __init__(self, name: str, console: Console) -> None:
        super().__init__(name)
        self._console = console
        self._phase = "uploading"
        self._line = ""
        self._reported_at = self._began_at

    def failed(self, reason: str) -> None:
        self.note(f"failed: {reason}")

    def note(self, text: str) -> None:
        self._console.print(f"{printable(self.name)}: {printable(text)}", markup=False, soft_wrap=True)

    def _show(self, phase: str, percent: float | None, detail: str) -> None:
        now = time.monotonic()
        if phase == self._phase and now - self._reported_at < PLAIN_INTERVAL_S:
            return
        share = f" {percent:.0f} %" if percent is not None and 0 < percent < 100 else ""
        line = f"{printable(self.name)}: {phase}{share}{', ' if detail else ''}{detail}"
        if line != self._line:
            self._console.print(line, markup=False, soft_wrap=True)
        self._phase, self._line, self._reported_at = phase, line, now


def _speed(job: Job) -> str:
    done_s, total_s = job.progress.audio_s_done, job.progress.audio_s_total
    if not total_s:
        return ""
    left = "" if job.eta_s is None else f", {clock(job.eta_s)} left"
    return f"{clock(done_s)} of {clock(total_s)}{left}"


def wait(job: Job) -> str:
    """What a queued job waits for, and how long: "a worker that is free, 2 jobs before it, in about 1:40"."""
    before = job.queue_position or 0
    what = job.waiting_for or (f"{before} before it" if before else "next")
    return what if job.starts_in_s is None else f"{what}, in about {clock(job.starts_in_s)}"


def summary(job: Job) -> str:
    """What a finished job took: "1:10 of audio in 2.8 s, 25x"."""
    audio_s = sum(item.duration_s or 0.0 for item in job.inputs)
    if not (audio_s and job.started_at and job.finished_at):
        return ""
    took_s = max((job.finished_at - job.started_at).total_seconds(), 1e-3)
    return f"{clock(audio_s)} in {took_s:.1f} s, {times(audio_s / took_s)} real time"
