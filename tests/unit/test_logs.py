"""Log lines: one event is one line and one JSON object, whatever strangers put into it, and nothing is lost."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MEAN = [
    "two\nlines",
    "carriage\rreturn",
    "escape \x1b[2J\x1b]0;title\x07",
    "bidi \u202e\u2066 mark \u200f",
    "nul \0 and \x85 \u2028 \u2029 separators",
    'quotes " and \\ and {"event": "forged"}',
    "half a character \udc80",
    "x" * 2**20,
    "\U0001f3a4" * 10_000,
]
START = """
import json, sys
from btworker import logs
from btworker.specs import LogSettings
logs.set_up(LogSettings("info", json=sys.argv[1] == "json"))
log = logs.get_logger()
"""


def logged(program: str, *arguments: str, how: str = "json", code: int = 0) -> list[str]:
    """The lines that a program of ours writes."""
    done = subprocess.run(
        [sys.executable, "-c", START + program, how, *arguments], capture_output=True, cwd=ROOT, check=False
    )
    assert (done.returncode, done.stderr) == (code, b"")
    return done.stdout.decode("utf-8").split("\n")[:-1]


@pytest.mark.parametrize("mean", MEAN, ids=lambda text: ascii(text[:12]))
def test_one_event_is_one_object(mean: str) -> None:
    """As a value, in a list, as a key, in an exception, and as another package's text."""
    program = """
import logging
mean = json.loads(sys.argv[2])
log.info("event", filename=mean)
log.info("event", names=[mean, {mean: mean}], number=float("nan"), raw=mean.encode("utf-8", "surrogatepass"))
logging.getLogger("aiohttp.server").error("%s", mean)
try:
    raise ValueError(mean)
except ValueError:
    log.exception("failed", path=mean)
"""
    # An argument cannot hold a megabyte, nor NUL: as JSON, by a repetition.
    argument = json.dumps(mean) if len(mean) < 1000 else json.dumps(mean[0])
    program = program if len(mean) < 1000 else program.replace("[2])", f"[2]) * {len(mean)}")
    lines = logged(program, argument)
    events = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert [event["event"] for event in events] == ["event", "event", "log", "failed"]
    assert all({"ts", "level", "message"} <= event.keys() for event in events)
    assert all(line.isascii() and line.isprintable() and len(line) < 2**17 for line in lines)
    assert "ValueError" in events[3]["exception"]


@pytest.mark.parametrize("mean", MEAN[:7], ids=lambda text: ascii(text[:12]))
def test_text_for_people_moves_no_cursor(mean: str) -> None:
    """On a terminal an event is a line too; what would fake a second one, or hide the first, is an escape."""
    program = """
import logging
mean = json.loads(sys.argv[2])
log.info("event", filename=mean)
logging.getLogger("other").warning("%s", mean)
"""
    lines = logged(program, json.dumps(mean), how="text")
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)


def test_a_traceback_for_people_looks_like_no_event() -> None:
    """It keeps its lines, each set in, so that a message cannot pose as an event."""
    program = """
try:
    raise ValueError("x\\n2026-01-01T00:00:00Z [info] job_complete")
except ValueError:
    log.exception("failed")
"""
    first, *rest = logged(program, how="text")
    assert "failed" in first
    assert rest and all(line.startswith("    ") for line in rest)


def test_what_nobody_catches_is_an_event() -> None:
    """The main thread, another thread, a destructor, a warning: one line each, nothing on stderr."""
    program = """
import threading, warnings
class Rude:
    def __del__(self):
        raise RuntimeError("in del")
Rude()
warnings.warn("a warning\\nin two lines")
def fail():
    raise RuntimeError("in a thread")
thread = threading.Thread(target=fail, name="second")
thread.start()
thread.join()
raise RuntimeError("in main")
"""
    events = [json.loads(line) for line in logged(program, code=1)]
    assert [event["event"] for event in events] == [
        "ignored_exception", "warning", "uncaught_exception", "uncaught_exception",
    ]  # fmt: skip
    assert "in two lines" in events[1]["message"] and events[1]["logger"] == "py.warnings"
    assert events[2]["thread"] == "second"
    assert "in a thread" in events[2]["exception"] and "in main" in events[3]["exception"]


def test_lines_of_several_processes_do_not_mix() -> None:
    """Eight writers of long lines on one pipe, read at once: every line is whole."""
    program = """
import multiprocessing, os
children = []
for number in range(8):
    if (pid := os.fork()) == 0:
        for index in range(50):
            log.info("event", text=str(number) * 1900, more=[str(number) * 1500] * 3)
        os._exit(0)
    children.append(pid)
for pid in children:
    os.waitpid(pid, 0)
"""
    events = [json.loads(line) for line in logged(program)]
    assert len(events) == 400
    assert all(set(event["text"]) == set(event["more"][0]) for event in events)


def test_lines_of_ours_are_counted_by_level() -> None:
    """By a handler of the root logger, which sees others' lines as well; what is below the level is no line."""
    program = """
import logging
from btworker.metrics.log_lines import LogLines
lines = LogLines()
logging.getLogger().addHandler(lines)
for level in ("debug", "info", "info", "warning", "error", "critical"):
    getattr(log, level)("event")
logging.getLogger("other").error("text")
print(json.dumps(lines.counts))
"""
    *events, counts = map(json.loads, logged(program))
    assert counts == {"debug": 0, "info": 2, "warning": 1, "error": 2, "critical": 1}
    assert [event["level"] for event in events] == ["info", "info", "warning", "error", "critical", "error"]
