"""A scripted engine: the job's prompt says, in JSON, what to do. Loaded by import string like the real one; no torch.

    {"steps": [["windows", 3], ["sleep", 0.5], ["on_attempt", 1, ["signal", "SIGKILL"]]]}

Steps: windows N | say TEXT (a window more; the transcript is then what was said) |
wait_file PATH | sleep S | signal NAME | spin S (in C, holding the GIL) | fail CODE TEXT |
raise TEXT | quit (sys.exit) | exit N | warn TEXT | python_warning TEXT | thread_raises TEXT | spill MB (of output) |
diarize (tell that speakers are told apart) | no_speakers WHY (found out by this job) |
broke (the GPU, once the words are there) |
leak MB (kept by the child) | eat MB (until memory ends) | swap NAME | on_attempt N STEP |
tool S (a program that runs for S seconds in ffmpeg's sandbox, with a scratch file) |
tool_left S (the same, not waited for) |
share PARTS S HOLD [HELP_S FRAMES] (fake_shares.py). No JSON: one window, at once.
The first line of the input is the "speech"; windows go to windows/0.jsonl and are not repeated by a later attempt.
A model named "broken…" cannot be opened.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import btworker
from btworker.durable import sync_folder, write_durably
from btworker.errors import BtworkerError, ErrorCode
from btworker.job_folder import JobFolder, transcript_name
from btworker.jobs import ENROLL, Output, Stage
from btworker.messages import (
    EngineInfo,
    Finished,
    HelpTask,
    JobEvent,
    Loading,
    ModelLoaded,
    Progressed,
    RunTask,
    ShareOffered,
    Warned,
    WindowDone,
)
from btworker.specs import WorkerSpec
from btworker.voices import ENROLLED, Voice
from tests import fake_shares

WINDOW_S = 30.0
LEAKED: list[bytes] = []
"""Memory that this process never gives back."""
SANDBOX = Path(btworker.__file__).parent / "engine" / "sound" / "sandbox.py"
"""What the real engine starts ffmpeg with; standard library only."""


def load(spec: WorkerSpec) -> "FakeEngine":
    """The factory that WorkerSpec.engine names."""
    return FakeEngine(spec)


class FakeEngine:
    """Implements pool.engine_api.Engine by a script."""

    def __init__(self, spec: WorkerSpec) -> None:
        self.spec = spec
        self.model = ""
        self.no_speakers: str | None = None

    @property
    def info(self) -> EngineInfo:
        """All is well, but nothing is there."""
        checks = tuple((name, True) for name in ("numpy", "torch", "whisper"))
        seen = ("HF_HUB_OFFLINE", "OMP_WAIT_POLICY")
        versions = (("fake", "1"), *((name, os.environ.get(name, "")) for name in seen))
        checks = (*checks, ("torch_cuda", False), ("diarization", False))
        return EngineInfo(versions=versions, checks=checks, diarization_error=self.no_speakers)

    def open(self, emit: Callable[[Loading], None] = lambda _loading: None) -> None:
        """Load the default model; "slow…" waits for the file <scratch>/go, "broken…" fails, "killed…" dies."""
        name = self.spec.settings.default_model
        if name.startswith("broken"):
            raise BtworkerError(ErrorCode.MODEL_UNAVAILABLE, f"the model {name} is not in the cache")
        if name.startswith("killed"):
            os.kill(os.getpid(), signal.SIGKILL)
        emit(Loading(f"downloading the model {name}", 1_288_490_189, 3_328_599_654))
        while name.startswith("slow") and not (self.spec.settings.scratch / "go").exists():
            time.sleep(0.01)
        self.model = name

    def run(self, task: RunTask, canceled: Callable[[], bool]) -> Iterator[JobEvent]:
        """Follow the script, then write one transcript per input."""
        run = _Run(task, canceled, self.spec.settings.scratch)
        for step in _steps(task):
            yield from run.step(step)
        self.no_speakers = run.no_speakers or self.no_speakers
        yield run.finished()

    def help(self, task: HelpTask, enough: Callable[[], bool]) -> Generator[None, None, bool]:
        """Follow the script's `share`."""
        shares = JobFolder(task.folder).shares(task.file_index, task.take)
        given = next(rest for name, *rest in _steps(task) if name == "share")
        hold, seconds = Path(str(given[2])), float(str(given[3])) if len(given) > 3 else 0.0
        try:
            for _ in fake_shares.help_with(shares, seconds, hold=hold, enough=enough):
                yield
        except FileNotFoundError:  # the other one has ended
            pass
        return not enough()


def _steps(task: RunTask | HelpTask) -> list[list[object]]:
    try:
        return list(json.loads(task.options.prompt)["steps"])
    except (ValueError, KeyError, TypeError):
        return [["windows", 1]]


class _Run:
    def __init__(self, task: RunTask, canceled: Callable[[], bool], scratch: Path) -> None:
        self.task = task
        self.scratch = scratch / f"{task.job_id}.0.s16"
        self.canceled = canceled
        self.folder = JobFolder(task.folder)
        self.folder.windows.mkdir(exist_ok=True)
        self.said: list[str] = []
        self.spill = b""
        self.no_speakers = ""
        self.fatal = False
        self.helpers: list[int] = []
        """Process ids of those that decoded a part of a recording that is shared, a time for each part."""

    def step(self, step: list[object]) -> Iterator[JobEvent]:
        """One step of the script."""
        name, *rest = step
        if name == "on_attempt":
            if rest[0] == self.task.attempt:
                yield from self.step(rest[1])  # type: ignore[arg-type]
            return
        if self.canceled() and name != "spin":  # which stands for code that cannot be stopped
            raise BtworkerError(ErrorCode.CANCELED, "canceled")
        yield from getattr(self, f"_{name}")(*rest)

    def _windows(self, count: int) -> Iterator[JobEvent]:
        path = self.folder.windows_of(0)
        done = len(path.read_text().splitlines()) if path.exists() else 0
        for index in range(done, count):
            if self.canceled():
                raise BtworkerError(ErrorCode.CANCELED, "canceled")
            yield self._window(path, index, count, f" window {index}")

    def _say(self, text: str) -> Iterator[JobEvent]:
        index = len(self.said)
        self.said.append(text)
        path = self.folder.windows_of(0)
        if index < len(self._window_lines(0)):  # an earlier attempt wrote it, and a journal has each window once
            yield self._done(index, index + 1)
        else:
            yield self._window(path, index, index + 1, text)

    def _window(self, path: Path, index: int, count: int, text: str) -> WindowDone:
        said = {"start": WINDOW_S * index, "end": WINDOW_S * (index + 1), "text": text}
        with open(path, "a", encoding="utf-8") as file:
            line = {"index": index, "attempt": self.task.attempt, "segments": [said]}
            file.write(json.dumps(line) + "\n")
        return self._done(index, count)

    def _done(self, index: int, count: int) -> WindowDone:
        seconds = (WINDOW_S * (index + 1), WINDOW_S * count)
        return WindowDone(self.task.job_id, self.task.attempt, 0, index, *seconds)

    def _share(
        self, parts: int, seconds: float, hold: str, _help_s: float = 0.0, frames: int = fake_shares.FRAMES
    ) -> Iterator[JobEvent]:
        yield Progressed(self.task.job_id, self.task.attempt, Stage.TRANSCRIBING, 0, 0.0, 60.0)
        found = fake_shares.transcribe(
            self.folder.shares(0),
            self.scratch,
            parts,
            seconds,
            hold=Path(hold),
            frames=frames,
            canceled=self.canceled,
        )
        for texts, pid in found:
            if not texts:
                yield ShareOffered(self.task.job_id, self.task.attempt, 0)
            self.helpers += [pid] if pid else []
            for text in texts:
                yield from self._say(text)
        if self.canceled():
            raise BtworkerError(ErrorCode.CANCELED, "canceled")

    def _sleep(self, seconds: float) -> Iterator[JobEvent]:
        yield Progressed(self.task.job_id, self.task.attempt, Stage.TRANSCRIBING, 0, 0.0, 60.0)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.canceled():
                raise BtworkerError(ErrorCode.CANCELED, "canceled")
            time.sleep(0.005)

    def _wait_file(self, path: str) -> Iterator[JobEvent]:
        yield Progressed(self.task.job_id, self.task.attempt, Stage.TRANSCRIBING, 0, 0.0, 60.0)
        while not Path(path).exists():
            if self.canceled():
                raise BtworkerError(ErrorCode.CANCELED, "canceled")
            time.sleep(0.005)

    def _signal(self, name: str) -> Iterator[JobEvent]:
        # To this thread: it may go on for a moment where another one of the process gets the signal
        signal.pthread_kill(threading.get_ident(), signal.Signals[name])
        yield from ()

    def _diarize(self) -> Iterator[JobEvent]:
        self.folder.diarizing.write_text(str(self.task.losses))
        yield Progressed(self.task.job_id, self.task.attempt, Stage.DIARIZING, 0, 1.0, 60.0)

    def _no_speakers(self, why: str) -> Iterator[JobEvent]:
        self.no_speakers = why
        yield from ()

    def _broke(self) -> Iterator[JobEvent]:
        self.fatal = True
        yield from ()

    def _spin(self, _seconds: float) -> Iterator[JobEvent]:
        re.match(r"(a+)+$", "a" * 64 + "b")  # minutes in C without a look at anything
        yield from ()

    def _fail(self, code: str, text: str) -> Iterator[JobEvent]:
        raise BtworkerError(ErrorCode(code), text)
        yield

    def _raise(self, text: str) -> Iterator[JobEvent]:
        raise RuntimeError(text)
        yield

    def _quit(self) -> Iterator[JobEvent]:
        sys.exit("a library that thinks that the process is its own")
        yield

    def _exit(self, status: int) -> Iterator[JobEvent]:
        os._exit(status)
        yield

    def _warn(self, text: str) -> Iterator[JobEvent]:
        yield Warned(self.task.job_id, self.task.attempt, text)

    def _python_warning(self, text: str) -> Iterator[JobEvent]:
        warnings.warn(text, RuntimeWarning, stacklevel=1)
        yield from ()

    def _thread_raises(self, text: str) -> Iterator[JobEvent]:
        def fail() -> None:
            raise RuntimeError(text)

        thread = threading.Thread(target=fail, name="fails")
        thread.start()
        thread.join()
        yield from ()

    def _swap(self, model: str) -> Iterator[JobEvent]:
        yield ModelLoaded(self.task.job_id, self.task.attempt, model, 0.1)

    def _spill(self, megabytes: int) -> Iterator[JobEvent]:
        self.spill = b"x" * (megabytes << 20)
        yield from ()

    def _leak(self, megabytes: int) -> Iterator[JobEvent]:
        LEAKED.append(b"x" * (megabytes << 20))
        yield from ()

    def _eat(self, megabytes: int) -> Iterator[JobEvent]:
        _eaten = [bytearray(b"x" * (16 << 20)) for _ in range(megabytes // 16)]  # written to, so really there
        yield from ()

    def _tool(self, seconds: float) -> Iterator[JobEvent]:
        tool = self._start_tool(seconds)
        try:
            while tool.poll() is None:
                if self.canceled():
                    raise BtworkerError(ErrorCode.CANCELED, "canceled")
                time.sleep(0.01)
        finally:
            tool.kill()
            tool.wait()
            self.scratch.unlink(missing_ok=True)
        if tool.returncode:
            raise BtworkerError(ErrorCode.PROCESSING_ERROR, f"the tool ended with {tool.returncode}")
        yield from ()

    def _tool_left(self, seconds: float) -> Iterator[JobEvent]:
        self._start_tool(seconds)
        yield from ()

    def _start_tool(self, seconds: float) -> "subprocess.Popen[bytes]":
        self.scratch.write_bytes(b"sound" * 1000)
        sleep = shutil.which("sleep") or "/bin/sleep"
        sandbox = [sys.executable, "-I", "-S", str(SANDBOX), str(os.getpid()), str(2**30), "60", ""]
        return subprocess.Popen([*sandbox, sleep, str(seconds)], start_new_session=True)

    def finished(self) -> Finished:
        """Durable outputs, as the real engine leaves them."""
        shutil.rmtree(self.folder.outputs, ignore_errors=True)
        part = self.folder.path / "out.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        outputs = tuple(self._output(part, index) for index in range(len(self.task.inputs)))
        for index, output in enumerate(outputs if not self.spill else ()):  # of which other formats are made
            os.link(part / output.filename, part / transcript_name(index))
        sync_folder(part)
        part.rename(self.folder.outputs)
        sync_folder(self.folder.path)
        if self.task.options.task == ENROLL:
            write_durably(self.folder.path / ENROLLED, Voice((1.0, 0.0), "scripted", WINDOW_S).to_json())
        durations = (WINDOW_S,) * len(outputs)
        timings = (("transcribing", 0.001),)
        return Finished(self.task.job_id, self.task.attempt, outputs, durations, timings, fatal=self.fatal)

    def _window_lines(self, index: int) -> list[object]:
        path = self.folder.windows_of(index)
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def _output(self, part: Path, index: int) -> Output:
        item = self.task.inputs[index]
        with open(self.folder.input(index), "rb") as file:
            first = file.readline(200).decode("utf-8", "replace").strip()
        segments = [{"id": 0, "seek": 0, "start": 0.0, "end": 1.0, "text": first}]
        for number, text in enumerate(self.said):
            times = {"start": WINDOW_S * number, "end": WINDOW_S * (number + 1)}
            segments[number:] = [{"id": number, "seek": 0, **times, "text": text}]
        body = {
            "text": "".join(self.said) or first,
            "language": "en",
            "segments": segments,
            "pid": os.getpid(),
            "attempt": self.task.attempt,
            "helpers": self.helpers,
            "windows": self._window_lines(index),
        }
        data = json.dumps(body).encode() + self.spill
        name = f"{item.stem}_transcript.json"
        return Output(item.input_id, name, "json", len(data), write_durably(part / name, data))
