"""bench/engine.py runs: a toy model whose texts have the lengths that were asked for, and a RESULT line at the end."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
import whisper

from bench.speed.contenders import ALIGNING, Ours, Sounds, Task, Tokens, aligning_heads
from bench.speed.files import stopwatch
from bench.speed.gate import NEAR_TIE, Gate, GateError
from bench.speed.shapes import SHAPES, VARIED, talking_model, windows_for
from bench.speed.windows import Setting, Windows, _take_turns
from btworker.engine.asr.decoding.alignment import Attention, Text
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.decoding.places import Places, TextEntry

pytestmark = [pytest.mark.speech, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]


def test_the_sound_says_how_long_the_text_is() -> None:
    """whisper.decode says as many tokens as each window asks for, with timestamps in them, and no two texts alike."""
    assert sum(VARIED) / len(VARIED) == 76
    model = talking_model(SHAPES["toy"], torch.device("cpu"))
    lengths = [1, 12, 50, 51, 200]
    options = whisper.DecodingOptions(language="en", fp16=False)
    texts = [whisper.decode(model, mel, options).tokens for mel in windows_for(model, lengths)]
    assert [len(text) for text in texts] == lengths
    assert len({tuple(text) for text in texts}) == len(texts)
    assert all(text[0] >= 50_364 for text in texts)


def test_the_bench_runs(tmp_path: Path) -> None:
    """Windows alone, without peers: tokens equal openai-whisper's, rows as long as asked, tables, documents, a plot."""
    command = [sys.executable, "-W", "ignore", str(ROOT / "bench" / "engine.py"), "--quick", "--part", "windows"]
    command += ["--shape", "toy", "--batch", "1", "2", "--tokens", "8", "--rounds", "1", "--threads", "1"]
    command += [
        "--peers",
        str(tmp_path / "none"),
        "--price-per-hour",
        "1e9",
        "--output",
        str(tmp_path),
        "--keep",
        str(tmp_path / "docs"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2].startswith("RESULT tokens_equal=1 decode_speedup_b1=")
    assert "not installed (make bench-peers)" in done.stdout
    raw = json.loads((tmp_path / "engine.json").read_text())["raw"]["toy"]
    assert raw["off_by"] == {"ours": 0, "openai-whisper": 0}
    assert raw["gate"] == {"windows": 6, "near_ties": 0, "largest_gap": 0.0}
    assert len(raw["seconds"]) == 6 and all(len(row["ours"]) == 1 for row in raw["seconds"])
    document = (tmp_path / "docs" / "engine-cpu.md").read_text()
    assert "% |" in document and "| price of an hour of audio |" in document
    assert (tmp_path / "engine-toy.svg").read_text().startswith("<svg")


def test_a_run_that_is_stopped_has_a_verdict(tmp_path: Path) -> None:
    """SIGTERM, as from timeout, in the second round: the first one's figures, and exit status 1."""
    command = [sys.executable, "-W", "ignore", str(ROOT / "bench" / "engine.py"), "--gpu", "--part", "windows"]
    command += ["--batch", "1", "--rounds", "2", "--threads", "1", "--output", str(tmp_path)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as running:
        assert running.stdout is not None
        said = []
        for line in running.stdout:
            said.append(line)
            if line.startswith("Tokens: ours are"):  # the end of its tables
                running.terminate()
    assert running.returncode == 1 and "  stopped before its end\n" in said
    (result,) = (line for line in said if line.startswith("RESULT "))
    assert "tokens_equal=1 " in result and "toy_word_times_windows_per_s_b1=" in result
    assert json.loads((tmp_path / "engine.json").read_text())["raw"]["failed"] == ["stopped before its end"]


def test_texts_may_part_where_whisper_is_undecided_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gap of its own logits at the first difference decides; on a CPU nothing may part."""
    model = talking_model(SHAPES["toy"], torch.device("cpu"))
    mels = windows_for(model, [6, 5])
    options = whisper.DecodingOptions(language="en", fp16=False)
    wanted = [whisper.decode(model, mel, options).tokens for mel in mels]
    other = [wanted[0], [*wanted[1][:3], wanted[1][3] + 1, 7, 8]]
    gate = Gate()
    with pytest.raises(GateError, match=r"window 1 differ .* logits are"):
        gate.compare(model, mels, other, wanted)
    monkeypatch.setitem(NEAR_TIE, "cpu", 1e6)
    gate = Gate()
    gate.compare(model, mels, other, wanted)
    assert (gate.windows, gate.near_ties) == (2, 1) and gate.largest_gap > 0.01
    gate.compare(model, mels, wanted, wanted)
    assert "4 windows, 1 part at a near-tie" in str(gate)


class Hungry:
    """A contender that needs all memory for some batches."""

    def __init__(self, name: str, *, most: int, alone: bool) -> None:
        self.name, self._most, self._alone = name, most, alone
        self.released = 0

    def run(self, task: Task) -> tuple[float, Tokens]:
        """See Contender."""
        if task.batch > self._most and not (self._alone and self.released):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return 0.5, [[1] * 8] * task.count

    def takes(self, task: Task) -> bool:
        """See Contender."""
        return task.case == "F"

    def release(self) -> None:
        """See Contender."""
        self.released += 1


def test_short_memory_costs_a_row_and_no_run(tmp_path: Path) -> None:
    """A contender that has room once the others gave theirs back has its figure; another one the reason."""
    setting = Setting("toy", torch.device("cpu"), (1, 4), 8, 1, 1, 1, tmp_path)
    found = Windows(setting)
    ours, theirs = Hungry("ours", most=1, alone=True), Hungry("openai-whisper", most=1, alone=False)
    _take_turns([ours, theirs], found)
    assert {(task.batch, name) for task, name in found.failed} == {(4, "openai-whisper")}
    assert all("ours" in seconds for seconds in found.seconds.values()) and theirs.released > 1
    assert {task.case for task in found.seconds} == {"F"}  # the one that they take
    assert [found.against_openai(task) is None for task in found.seconds] == [task.batch == 4 for task in found.seconds]


def test_a_run_that_is_stopped_has_the_rounds_before(tmp_path: Path) -> None:
    """Speeds are told after each round: of three, the last of which never ends, there are two."""
    setting = Setting("toy", torch.device("cpu"), (1,), 8, 3, 1, 1, tmp_path)
    contender, told = Hungry("ours", most=1, alone=True), list[int]()

    def tell(found: Windows) -> None:
        told.append(found.rounds)
        if found.rounds == 2:
            contender.run = Mock(side_effect=KeyboardInterrupt)  # type: ignore[method-assign]

    with pytest.raises(KeyboardInterrupt):
        _take_turns([contender], Windows(setting), tell)
    assert told == [1, 2]


def test_ours_with_word_times_says_the_same_and_aligns_each_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the same decoder, whose places take nearly all memory, and by ten heads, or as many as there are."""
    model = talking_model(SHAPES["toy"], torch.device("cpu"))
    network = Network(model.state_dict(), model.dims, device=torch.device("cpu"), dtype=torch.float32)
    network.align_by(aligning_heads(model.dims))
    assert network.aligning_heads == 2 and len(aligning_heads(SHAPES["large-v3"])) == ALIGNING
    ours = Ours(network, Sounds({"F": windows_for(model, [9, 9])}, model.encoder))
    aligned, attend = list[int](), Places.attend

    def noted(self: Places, texts: Sequence[tuple[TextEntry, Text]]) -> list[Attention]:
        aligned.append(len(texts))
        return attend(self, texts)

    monkeypatch.setattr(Places, "attend", noted)
    task, also = Task("F", 2, 2, encoded=False), ours.with_word_times()
    assert ours.run(task)[1] == also.run(task)[1] and sum(aligned) == 2
    assert ours._decoders is also._decoders
    assert [one.takes(Task("F", 2, 2, encoded=True)) for one in (ours, also, ours.in_bytes(only=1))] == [
        True,
        False,
        False,
    ]


def test_stages_of_two_threads_do_not_count_for_each_other() -> None:
    """As on a GPU, where the decoder has a thread of its own: a stage inside of another thread's is one of its own."""
    seconds: dict[str, float] = {}
    timed, begun, go_on = stopwatch(seconds), threading.Event(), threading.Event()

    def waits() -> None:
        begun.set()
        assert go_on.wait(30)

    mel, sums = timed("mel", waits), timed("sums", lambda: None)
    steps = timed("steps", sums)
    beside = threading.Thread(target=mel)
    beside.start()
    assert begun.wait(30)
    steps()
    assert list(seconds) == ["steps"]
    go_on.set()
    beside.join(30)
    sums()
    assert list(seconds) == ["steps", "mel", "sums"]
