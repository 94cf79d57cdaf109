"""The vocabulary: transitions, stems, messages that cross a process boundary."""

import dataclasses
import enum
import pickle
import types
import typing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from btworker import messages, specs
from btworker.errors import FAILURE_REASONS, ErrorCode, ErrorInfo
from btworker.jobs import TRANSITIONS, JobStatus, Options, new_job_id
from btworker.stems import unique_stems
from tests.a_job import a_job


def test_a_finished_job_never_changes_its_status() -> None:
    """No transition leads out of complete, failed or canceled, and evolve refuses one."""
    for status in (JobStatus.COMPLETE, JobStatus.FAILED, JobStatus.CANCELED):
        assert status.finished
        for other in set(JobStatus) - {status}:
            with pytest.raises(ValueError, match="no transition"):
                a_job(status=status).evolve(status=other)


def test_every_status_can_be_reached() -> None:
    """From queued, following the table."""
    reached, todo = set(), [JobStatus.QUEUED]
    while todo:
        status = todo.pop()
        if status not in reached:
            reached.add(status)
            todo += TRANSITIONS[status]
    assert reached == set(JobStatus)


def test_logs_are_bounded_and_warnings_unique() -> None:
    """Only the last 20 log lines are kept; a warning is kept once."""
    job = a_job()
    for n in range(30):
        job = job.with_log(float(n), "info", f"line {n}").with_warnings("careful")
    assert [line.at for line in job.logs] == [float(n) for n in range(10, 30)]
    assert job.warnings == ("careful",)


@pytest.mark.parametrize(
    ("names", "stems"),
    [
        (["talk.m4a", "talk.mp3", "TALK.wav"], ["talk", "talk-2", "TALK-3"]),
        (["../../etc/passwd"], ["passwd"]),
        (["C:\\music\\song.mp3"], ["song"]),
        ([".hidden"], ["hidden"]),
        (["...", "", "/", "\0\n"], ["audio", "audio-2", "audio-3", "audio-4"]),
        (["日本語 🎉.wav"], ["日本語 🎉"]),
        (["a.b.c.wav"], ["a.b.c"]),
        (["talk-2.wav", "talk.wav", "talk.mp3"], ["talk-2", "talk", "talk-3"]),
        (["Gespra\u0308ch.wav", "Gespr\u00e4ch.wav"], ["Gespr\u00e4ch", "Gespr\u00e4ch-2"]),
        (["\u212b.wav", "\u00c5.wav", "A\u030a.wav"], ["\u00c5", "\u00c5-2", "\u00c5-3"]),
        (["\u1112\u1161\u11ab.wav", "\ud55c.wav"], ["\ud55c", "\ud55c-2"]),
        (["Stra\u00dfe.wav", "STRASSE.wav"], ["Stra\u00dfe", "STRASSE-2"]),
        (
            ["\ufb01lm.wav", "film.wav", "\uff46\uff49\uff4c\uff4d.wav"],
            ["\ufb01lm", "film-2", "\uff46\uff49\uff4c\uff4d-3"],
        ),
        (
            ["ta\u200blk.wav", "talk.wav", "t\u034falk.wav", "talk\ufe0f.wav"],
            ["talk", "talk-2", "t\u034falk-3", "talk\ufe0f-4"],
        ),
        (["t\u0430lk.wav", "talk.wav", "T\u0391LK.wav"], ["t\u0430lk", "talk-2", "T\u0391LK-3"]),
        (["resume.wav", "r\u00e9sum\u00e9.wav"], ["resume", "r\u00e9sum\u00e9"]),
    ],
)
def test_stems(names: list[str], stems: list[str]) -> None:
    """Names of outputs come from the clients' names, and are safe and unique."""
    assert unique_stems(names) == stems


@given(st.lists(st.text(max_size=300), min_size=1, max_size=8))
def test_stems_are_always_file_names(names: list[str]) -> None:
    """Whatever the client sends: one path component, not hidden, short enough for any suffix, all different."""
    stems = unique_stems(names)
    assert len({stem.casefold() for stem in stems}) == len(names)
    for stem in stems:
        assert stem == Path(stem).name and not stem.startswith(".") and stem.isprintable()
        assert len(stem.encode()) <= 200


def test_every_failure_code_has_a_reason() -> None:
    """A code that a job can fail with maps to one of the closed list of reasons."""
    allowed = {
        "input",
        "canceled",
        "worker_crash",
        "gpu_oom",
        "gpu_error",
        "timeout",
        "disk_full",
        "delivery",
        "internal",
    }
    assert set(FAILURE_REASONS.values()) <= allowed
    assert ErrorInfo(ErrorCode.OUT_OF_MEMORY, "x").retryable and not ErrorInfo(ErrorCode.NO_AUDIO, "x").retryable


def message_types() -> list[type[Any]]:
    """Every dataclass of messages.py."""
    return [
        item
        for item in vars(messages).values()
        if dataclasses.is_dataclass(item) and item.__module__ == messages.__name__
    ]


@pytest.mark.parametrize("kind", message_types(), ids=lambda kind: kind.__name__)
def test_messages_are_frozen_and_plain(kind: type[Any]) -> None:
    """What crosses a process boundary is frozen, slotted, and made of plain values and other messages."""
    assert kind.__dataclass_params__.frozen and "__slots__" in vars(kind)
    for name, hint in typing.get_type_hints(kind).items():
        assert plain(hint), f"{kind.__name__}.{name}: {hint}"


def plain(hint: Any) -> bool:
    """str, int, float, bool, None, Enum, Path, tuple, or a frozen dataclass of these."""
    if hint in (str, int, float, bool, type(None), Path, ...):
        return True
    if origin := typing.get_origin(hint):
        return origin in (tuple, typing.Union, types.UnionType) and all(plain(part) for part in typing.get_args(hint))
    if hasattr(hint, "__supertype__"):
        return plain(hint.__supertype__)
    if dataclasses.is_dataclass(hint):
        return hint.__dataclass_params__.frozen and all(plain(part) for part in typing.get_type_hints(hint).values())
    return isinstance(hint, type) and issubclass(hint, enum.Enum)


def test_messages_survive_the_crossing() -> None:
    """Pickled and read again they are equal."""
    task = messages.RunTask(new_job_id(), 1, Path("/data/x"), a_job().inputs, Options("tiny"))
    for message in (task, messages.Stop(), messages.Failed(task.job_id, 1, ErrorInfo(ErrorCode.NO_AUDIO, "x"))):
        assert pickle.loads(pickle.dumps(message)) == message


def test_engine_settings_hide_the_token() -> None:
    """A settings record in a log line or traceback does not show the Hugging Face token."""
    settings = specs.EngineSettings("tiny", (), Path("/c"), Path("/s"), hf_token="hf_canary")
    assert "hf_canary" not in repr(settings)
