"""Channels and ranges in the real engine: each is what a file of it alone is, in one transcript on one clock."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from btworker import shared_windows
from btworker.engine.asr import fast
from btworker.engine.asr.decoding.places import Places
from btworker.engine.asr.spread import shares
from btworker.engine.engine import WhisperEngine, load
from btworker.ffmpeg import SAMPLE_RATE
from btworker.job_folder import JobFolder
from btworker.jobs import Options, OutputFormat
from btworker.messages import FileDone, Finished, HelpTask, Progressed, ShareOffered, Warned, WindowDone
from tests.media.recordings import decode_whole, write_channels, write_wav
from tests.speech.jobs import run, spec_for, task_for
from tests.speech.transcripts import CHECKPOINT, HELD_OUT, assert_same, transcripts

pytestmark = [pytest.mark.speech, pytest.mark.timeout(300), pytest.mark.sliced("takes", 2)]

FIRST, SECOND = HELD_OUT / "16.opus", HELD_OUT / "13.opus"
"""31 s, which are two windows, and 19 s."""
SPEAKERS = CHECKPOINT.parent / "diarization"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> WhisperEngine:
    """The demo model in batches of four, with speakers."""
    engine = load(spec_for(CHECKPOINT, tmp_path_factory.mktemp("engine"), batch_size=4, diarization_pipeline=SPEAKERS))
    engine.open()
    return engine


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, np.ndarray]:
    """Samples of both."""
    folder = tmp_path_factory.mktemp("voices")
    return tuple(np.array(decode_whole(one, folder / f"{one.stem}.s16").samples) for one in (FIRST, SECOND))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def call(voices: tuple[np.ndarray, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A call of five channels: one voice, silence, another voice, the first one again, noise without speech."""
    first, second = voices
    channels = np.zeros((len(first), 5), np.int16)
    channels[:, 0] = channels[:, 3] = first
    channels[: len(second), 2] = second
    channels[:, 4] = np.random.default_rng(0).normal(0, 40, len(first))
    return write_channels(tmp_path_factory.mktemp("call") / "call.wav", channels, extensible=False)


def options(**changes: Any) -> Options:
    """All outputs."""
    return Options(model="random", outputs=tuple(OutputFormat), **changes)


def spoken(transcript: dict[str, Any], channel: int | None = None) -> list[dict[str, Any]]:
    """The segments of a channel, but for what says which one they are."""
    found = []
    for segment in transcript["segments"]:
        if segment.get("channel") == channel:
            words = [{k: v for k, v in word.items() if k != "channel"} for word in segment.get("words", ())]
            found.append({k: v for k, v in segment.items() if k not in ("id", "channel", "words")} | {"words": words})
    return found


@pytest.mark.parametrize("decode", ["fast", "exact"])
def test_each_channel_is_the_transcript_of_its_file(
    decode: str, engine: WhisperEngine, voices: tuple[np.ndarray, np.ndarray], call: Path, tmp_path: Path
) -> None:
    """Token by token and time by time, merged in time order; what is silent or there twice has no segments."""
    padded = np.zeros_like(voices[0])
    padded[: len(voices[1])] = voices[1]
    alone = [write_wav(tmp_path / f"{n}.wav", one) for n, one in enumerate((voices[0], padded))]
    mono, several = options(decode=decode), options(decode=decode, channels="separate")
    assert isinstance(run(engine, task_for(tmp_path / "alone", *alone, options=mono))[-1], Finished)
    events = run(engine, task_for(tmp_path / "call", call, options=several))
    assert isinstance(events[-1], Finished)
    (found,), wanted = transcripts(tmp_path / "call", 1), transcripts(tmp_path / "alone", 2)
    for channel, one in ((1, wanted[0]), (3, wanted[1])):
        assert_same(spoken(found, channel), spoken(one))
    assert {segment["channel"] for segment in found["segments"]} <= {1, 3, 5}
    assert [segment["id"] for segment in found["segments"]] == list(range(len(found["segments"])))
    starts = [segment["start"] for segment in found["segments"]]
    assert starts == sorted(starts)
    assert found["text"] == "".join(segment["text"] for segment in found["segments"])
    facts = {one.pop("channel"): one for one in found["channels"]}
    assert facts[1] == facts[3] == {"language": "en"}
    assert (facts[2], facts[4]) == ({"silent": True}, {"same_as": 1})
    assert found["duration"] == pytest.approx(len(padded) / SAMPLE_RATE)
    warnings = [event.message for event in events if isinstance(event, Warned)]
    assert any("channel 4 has the same sound as channel 1" in warning for warning in warnings)


def test_channels_share_the_batches(
    engine: WhisperEngine, call: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The windows of two voices are decoded in one round."""
    seated: list[int] = []
    step = Places.step

    def counting(places: Places, times: int) -> list[int]:
        seated.append(len(places.seated))
        return step(places, times)

    monkeypatch.setattr(Places, "step", counting)
    events = run(engine, task_for(tmp_path / "call", call, options=options(channels="separate")))
    assert max(seated) >= 3
    done = [event for event in events if isinstance(event, WindowDone)]
    assert [event.index for event in done] == list(range(len(done)))
    assert all(event.seconds_done <= event.seconds_total + 0.01 for event in done)


def test_a_range_is_the_transcript_of_a_cut(
    engine: WhisperEngine, voices: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    """But for its clock, which is the recording's; several ranges are several cuts."""
    first, _ = voices
    ranges = ((2.5, 8.0), (17.4, 31.0))
    cuts = [first[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)] for start, end in ranges]
    paths = [write_wav(tmp_path / f"{n}.wav", one) for n, one in enumerate(cuts)]
    run(engine, task_for(tmp_path / "cuts", *paths, options=options()))
    source = write_wav(tmp_path / "whole.wav", first)
    events = run(engine, task_for(tmp_path / "ranges", source, options=options(ranges=ranges)))
    (found,), wanted = transcripts(tmp_path / "ranges", 1), transcripts(tmp_path / "cuts", 2)
    expected = []
    for (start, _), one in zip(ranges, wanted, strict=True):
        for segment in spoken(one):
            moved = {"start": segment["start"] + start, "end": segment["end"] + start}
            words = [{**w, "start": w["start"] + start, "end": w["end"] + start} for w in segment["words"]]
            expected.append({**segment, **moved, "words": words, "seek": segment["seek"] + round(start * 100)})
    close = json.loads(json.dumps(expected), parse_float=lambda text: round(float(text), 3))
    assert_same(json.loads(json.dumps(spoken(found)), parse_float=lambda text: round(float(text), 3)), close)
    assert found["ranges"] == [{"start": 2.5, "end": 8.0}, {"start": 17.4, "end": 31.0}]
    assert found["duration"] == pytest.approx(19.1)
    assert isinstance(events[-1], Finished) and events[-1].durations_s == (pytest.approx(19.1),)


@pytest.mark.parametrize("decode", ["fast", "exact"])
def test_an_attempt_goes_on_with_the_windows_of_each_channel(
    decode: str, engine: WhisperEngine, call: Path, tmp_path: Path
) -> None:
    """Whichever window was the last; live text is written once, in the order in which it ends."""
    chosen = options(decode=decode, channels="separate")
    task = task_for(tmp_path / "whole", call, options=chosen)
    run(engine, task)
    wanted = transcripts(tmp_path / "whole", 1)
    count = sum(isinstance(e, WindowDone) for e in run(engine, task_for(tmp_path / "count", call, options=chosen)))
    for dies_after in range(count):
        folder = tmp_path / str(dies_after)
        steps = engine.run(task_for(folder, call, options=chosen), lambda: False)
        for event in steps:
            if isinstance(event, WindowDone) and event.index == dies_after:
                break
        steps.close()
        windows = JobFolder(folder).windows
        before = sum(len(path.read_bytes().splitlines()) for path in windows.glob("0.*.jsonl"))
        events = run(engine, task_for(folder, call, attempt=2, options=chosen))
        assert sum(isinstance(event, WindowDone) for event in events) == count - before < count
        assert_same(transcripts(folder, 1), wanted)
        lines = JobFolder(folder).windows_of(0).read_text().splitlines()
        told = [segment for line in lines for segment in json.loads(line)["segments"]]
        ends = [segment["end"] for segment in told]
        assert ends == sorted(ends)
        assert sorted(segment["text"] for segment in told) == sorted(one["text"] for one in wanted[0]["segments"])


def test_speakers_of_two_channels_are_never_one(engine: WhisperEngine, call: Path, tmp_path: Path) -> None:
    """Each channel is looked at by itself; labels go by who speaks first in the recording."""
    events = run(
        engine, task_for(tmp_path / "job", call, options=options(channels="separate", diarization_enabled=True))
    )
    assert isinstance(events[-1], Finished)
    (found,) = transcripts(tmp_path / "job", 1)
    whose: dict[str, set[int]] = {}
    for turn in found["turns"]:
        whose.setdefault(turn["speaker"], set()).add(turn["channel"])
    assert whose and all(len(channels) == 1 for channels in whose.values())
    assert {channel for channels in whose.values() for channel in channels} >= {1, 3}
    assert list(whose) == [f"SPEAKER_{number:02d}" for number in range(len(whose))]
    for segment in found["segments"]:
        if "speaker" in segment:
            assert whose[segment["speaker"]] == {segment["channel"]}
            assert {word["speaker"] for word in segment["words"]} == {segment["speaker"]}
    rttm = (tmp_path / "job" / "out" / "talk-0.rttm").read_text().split("\n")
    assert {line.split()[2] for line in rttm if line} >= {"1", "3"}


def test_speakers_of_ranges_keep_their_labels(
    engine: WhisperEngine, voices: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    """All ranges are looked at together, and no turn is outside of them."""
    source = write_wav(tmp_path / "whole.wav", voices[0])
    chosen = options(ranges=((1.0, 9.0), (20.0, 31.0)), diarization_enabled=True)
    run(engine, task_for(tmp_path / "job", source, options=chosen))
    (found,) = transcripts(tmp_path / "job", 1)
    assert found["turns"]
    for turn in found["turns"]:
        assert 1.0 <= turn["start"] < turn["end"] <= 9.0 or 20.0 <= turn["start"] < turn["end"] <= 31.0


def test_helpers_decode_windows_of_a_channel(
    engine: WhisperEngine, call: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each long channel is offered by itself; what another child makes of it is what its owner would have made."""
    for module in (fast, shares, shared_windows):
        monkeypatch.setattr(module, "PART", 1)
    monkeypatch.setattr(fast, "AHEAD", 1)  # the owner leaves the second window of the first voice
    wanted = options(channels="separate")
    run(engine, task_for(tmp_path / "alone", call, options=wanted))
    owner = load(replace(spec_for(CHECKPOINT, tmp_path, batch_size=1, spread_s=10.0), has_siblings=True))
    owner.open()
    task, helped = task_for(tmp_path / "job", call, options=wanted), {}
    for event in owner.run(task, lambda: False):
        folder = JobFolder(task.folder).shares(0, event.take) if isinstance(event, ShareOffered) else None
        if folder is not None and folder.exists():  # that of a channel without speech is gone at once
            help_task = HelpTask(task.job_id, task.folder, 0, task.inputs[0], wanted, event.take)
            list(engine.help(help_task, lambda: False))
            helped[event.take] = len(list(folder.glob("[0-9]*.json")))
    assert len(helped) >= 2 and 0 not in helped
    assert sum(helped.values()) >= 1
    assert_same(transcripts(tmp_path / "job", 1), transcripts(tmp_path / "alone", 1))


def test_silence_alone_is_an_empty_transcript(engine: WhisperEngine, tmp_path: Path) -> None:
    """Without speakers, and without a failure."""
    source = write_channels(tmp_path / "silence.wav", np.zeros((SAMPLE_RATE * 3, 2), np.int16), extensible=False)
    events = run(
        engine, task_for(tmp_path / "job", source, options=options(channels="separate", diarization_enabled=True))
    )
    assert isinstance(events[-1], Finished)
    assert any(isinstance(event, FileDone) for event in events)
    assert all(event.seconds_done <= event.seconds_total for event in events if isinstance(event, Progressed))
    (found,) = transcripts(tmp_path / "job", 1)
    assert (found["text"], found["segments"], found["language"]) == ("", [], "")
    assert found["channels"] == [{"channel": 1, "silent": True}, {"channel": 2, "silent": True}]
