"""bench/engine.py runs: a toy model whose texts have the lengths that were asked for, and a RESULT line at the end."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import whisper

from bench.speed.shapes import SHAPES, VARIED, talking_model, windows_for

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
    command += ["--peers", str(tmp_path / "none"), "--output", str(tmp_path), "--keep", str(tmp_path / "docs")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2].startswith("RESULT tokens_equal=1 decode_speedup_b1=")
    assert "not installed (make bench-peers)" in done.stdout
    raw = json.loads((tmp_path / "engine.json").read_text())["raw"]["toy"]
    assert raw["off_by"] == {"ours": 0, "openai-whisper": 0}
    assert len(raw["seconds"]) == 6 and all(len(row["ours"]) == 1 for row in raw["seconds"])
    assert "% |" in (tmp_path / "docs" / "engine-cpu.md").read_text()
    assert (tmp_path / "engine-toy.svg").read_text().startswith("<svg")
