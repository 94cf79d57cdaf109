"""The engines side by side. What the others gave is kept in the cache by the hashes of recording and weights, the
release and the settings, so that a second run does only ours.
"""

import hashlib
import json
import os
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import whisper

from bench.real.ours import Ours
from bench.real.recordings import Recording
from bench.real.transcripts import Heard, HeardSegment, HeardWord
from bench.real.weights import Checkpoint, UnreachableError, cache_folder
from bench.speed.peers import default_python

HERE = Path(__file__).resolve().parent
ALL_HEADS, FORCED = "fast, all heads", "forced alignment"
"""They are there for the times of words alone."""
EIGHT_BITS = "fast, 8 bits"
"""WORKER_SOUND_BITS=8."""
ROUNDED = "bfloat16"
"""With WORKER_CPU_PRECISION=half."""
Transcribe = Callable[[Sequence[Recording]], Iterable[Heard]]


@dataclass(frozen=True)
class Engine:
    """A way to transcribe, and what it is called in the table."""

    name: str
    transcribe: Transcribe
    """Raises UnreachableError where it is not here."""


def ours(checkpoint: Checkpoint) -> list[Engine]:
    """Both modes, greedy and with five beams, the same in bfloat16; fast with the sound in eight bits a number, and
    fast where nothing is known of the alignment heads."""
    load = cache(partial(Ours, checkpoint))

    def run(some: Sequence[Recording], *, mode: str, beams: int, **loaded: Any) -> Iterator[Heard]:
        return (load(**loaded).transcribe(one, mode, beams) for one in some)

    with_mode = {
        mode + (f" beam {beams}" if beams > 1 else ""): partial(run, mode=mode, beams=beams)
        for mode, beams in (("fast", 1), ("fast", 5), ("exact", 1), ("exact", 5))
    }
    with_mode |= {f"{name}, {ROUNDED}": partial(run_one, rounded=True) for name, run_one in with_mode.items()}
    with_mode[EIGHT_BITS] = partial(run, mode="fast", beams=1, bits=8)
    with_mode[ALL_HEADS] = partial(run, mode="fast", beams=1, setting=_upper_half(checkpoint))
    return [Engine(name, transcribe) for name, transcribe in with_mode.items()]


def _upper_half(checkpoint: Checkpoint) -> str:
    """All heads of the decoder's upper half, as WORKER_ALIGNMENT_HEADS names them: whisper's default."""
    dims = torch.load(checkpoint.path, map_location="cpu", weights_only=True)["dims"]
    layers = range(dims["n_text_layer"] // 2, dims["n_text_layer"])
    return " ".join(f"{layer}:{head}" for layer in layers for head in range(dims["n_text_head"]))


def others(checkpoint: Checkpoint, threads: int) -> list[Engine]:
    """openai-whisper, faster-whisper one window after the other and batched, and where words are by another model."""
    found = [Engine("openai-whisper", _kept(checkpoint, "openai-whisper", lambda some: _openai(checkpoint, some)))]
    for batched in (False, True):
        for beams in (1, 5):
            name = f"faster-whisper {'batched' if batched else 'sequential'}" + (f" beam {beams}" if beams > 1 else "")
            run = partial(_faster, checkpoint, threads=threads, batched=batched, beams=beams)
            found.append(Engine(name, _kept(checkpoint, name, run)))
    return [*found, Engine(FORCED, _kept(checkpoint, FORCED, _forced))]


def _kept(checkpoint: Checkpoint, name: str, run: Transcribe) -> Transcribe:
    """The same, but recordings that are in the cache are not transcribed again."""

    def kept(some: Sequence[Recording]) -> Iterator[Heard]:
        release = version("openai-whisper") if name.startswith("openai") else _pinned(name)
        paths = [_place(checkpoint.sha256, name, release, one.sha256) for one in some]
        missing = [one for one, path in zip(some, paths, strict=True) if not path.exists()]
        if missing:
            for one, heard in zip(missing, run(missing), strict=True):
                path = _place(checkpoint.sha256, name, release, one.sha256)
                path.parent.mkdir(parents=True, exist_ok=True)
                part = path.with_suffix(".part")
                part.write_text(json.dumps(heard.to_dict()))
                os.replace(part, path)
        return (Heard.from_dict(json.loads(path.read_text())) for path in paths)

    return kept


def _place(*facts: str) -> Path:
    name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
    return cache_folder() / "transcripts" / f"{name}.json"


def _pinned(name: str) -> str:
    """The releases that a peer's text depends on, as locks/bench.txt pins them."""
    packages = ("pocketsphinx==",) if name == FORCED else ("faster-whisper==", "ctranslate2==")
    lines = (HERE.parents[1] / "locks" / "bench.txt").read_text().splitlines()
    return " ".join(line.split()[0] for line in lines if line.startswith(packages))


def _openai(checkpoint: Checkpoint, some: Sequence[Recording]) -> Iterator[Heard]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # on torch.load without weights_only: the file is our own
        model = whisper.load_model(str(checkpoint.path), device="cpu")
    heads = torch.zeros(model.dims.n_text_layer, model.dims.n_text_head, dtype=torch.bool)
    for layer, head in checkpoint.alignment_heads:
        heads[layer, head] = True
    model.register_buffer("alignment_heads", heads.to_sparse(), persistent=False)
    return (_transcribe(model, one) for one in some)


def _transcribe(model: Any, recording: Recording) -> Heard:
    torch.manual_seed(0)
    began = time.process_time()
    samples = recording.samples.astype(np.float32) / 32768.0
    found = model.transcribe(samples, fp16=False, word_timestamps=True)
    segments = tuple(
        HeardSegment(
            one["text"],
            one["start"],
            one["end"],
            tuple(HeardWord(word["word"], float(word["start"]), float(word["end"])) for word in one["words"]),
            temperature=one["temperature"],
        )
        for one in found["segments"]
    )
    return Heard(found["text"], found["language"], segments, time.process_time() - began)


def _faster(
    checkpoint: Checkpoint, some: Sequence[Recording], *, threads: int, batched: bool, beams: int
) -> list[Heard]:
    more = {"model": str(checkpoint.ctranslate2), "threads": threads, "batched": batched, "beams": beams}
    return [Heard.from_dict(one) for one in _peer("faster_whisper", some, more)]


def _forced(some: Sequence[Recording]) -> Iterator[Heard]:
    """The English texts that people wrote, with the times of their words where pocketsphinx can align them."""
    english = [one for one in some if one.is_measured and one.language == "en"]
    aligned = _peer("pocketsphinx", english, {"texts": [one.reference for one in english]})
    found = {one.name: words for one, words in zip(english, aligned, strict=True)}
    for one in some:
        words = tuple(HeardWord(**word) for word in found.get(one.name, ()))
        yield Heard(one.reference if words else "", one.language, (HeardSegment("", 0.0, 0.0, words),), 0.0)


def _peer(name: str, some: Sequence[Recording], more: dict[str, Any]) -> list[Any]:
    """What peer_NAME.py answers, in its own environment. Raises UnreachableError."""
    python = default_python()
    if not python.exists():
        raise UnreachableError("not installed (make bench-peers)")
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / f"{number}.npy") for number in range(len(some))]
        for path, one in zip(paths, some, strict=True):
            np.save(path, one.samples)
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(
            [str(python), "-W", "ignore", str(HERE / f"peer_{name}.py")],
            input=json.dumps({"samples": paths, **more}),
            capture_output=True,
            text=True,
            check=False,
            env={**environment, "OMP_NUM_THREADS": str(more.get("threads", 1)), "HF_HUB_OFFLINE": "1"},
        )
    if done.returncode:
        raise UnreachableError((done.stderr.strip().splitlines() or ["it ended"])[-1][:160])
    answer: list[Any] = json.loads(done.stdout)
    return answer
