"""Whole recordings with the demo model: ours in both modes, all of them as the files of one job, against
openai-whisper's transcribe() and faster-whisper's batched pipeline. Word times and language detection everywhere; the
loading of models is not counted, the decoding of the files is.
"""

import os
import shutil
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import whisper

from bench.speed.attempts import CHECKPOINT, open_engine, task_of, texts_of
from bench.speed.contenders import Ours, Sounds, Task
from bench.speed.figures import Spread, speedup
from bench.speed.gate import Gate
from bench.speed.machine import hold_threads
from bench.speed.peers import PeerError, PeerProcess, peer, write_weights
from bench.speed.recordings import Recording, decoded
from btworker.cli.wer import word_errors
from btworker.engine.asr import mel as spectrogram
from btworker.engine.asr import word_times
from btworker.engine.asr.decoding import alignment
from btworker.engine.asr.decoding.lane import Lane
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.decoding.places import Places
from btworker.engine.asr.journal import Journal
from btworker.engine.asr.mel import LogMel
from btworker.engine.asr.recognition import recognize_alone, run_name
from btworker.engine.asr.weights import Model
from btworker.engine.engine import WhisperEngine
from btworker.engine.sound import recording as sounds
from btworker.engine.vad import detector
from btworker.engine.vad.network import SpeechNetwork
from btworker.ffmpeg import find_ffmpeg
from btworker.jobs import Options

ROOT = Path(__file__).resolve().parents[2]
FAST, EXACT, THEIRS, PEER = "ours, fast", "ours, exact", "openai-whisper", "faster-whisper"
PEER_BATCH = 16
Way = Callable[[Sequence[Recording]], tuple[float, list[str]]]
"""Seconds, and the text of each recording."""


@dataclass
class Files:
    """What was measured."""

    audio_s: float
    seconds: dict[str, list[float]] = field(default_factory=dict)
    word_error_rate: dict[str, float] = field(default_factory=dict)
    shares: dict[str, dict[str, float]] = field(default_factory=dict)
    """Seconds of each stage of ours, one recording at a time."""
    versions: dict[str, str] = field(default_factory=dict)
    gate_windows: int = 0
    same_texts: int = 0
    """Recordings whose text in exact mode is transcribe()'s, letter for letter."""

    def times_real_time(self, name: str) -> Spread:
        """Audio seconds per second."""
        return Spread(tuple(self.audio_s / seconds for seconds in self.seconds[name]))

    def against_openai(self, name: str) -> Spread:
        """How many times faster than transcribe()."""
        return speedup(self.seconds[THEIRS], self.seconds[name])


def measure(
    recordings: Sequence[Recording],
    folder: Path,
    *,
    device: torch.device,
    threads: int,
    rounds: int,
    peers_python: Path,
) -> Files:
    """Rounds in turns; then each of our modes once more for the shares of its stages."""
    hold_threads(threads)
    found = Files(sum(recording.seconds for recording in recordings))
    engine, oracle = open_engine(folder, device, threads), _openai_model(device)
    found.gate_windows = _gate(oracle, recordings, folder, device)
    with ExitStack() as stack:
        stack.enter_context(_ffmpeg_on_path(folder))
        ways: dict[str, Way] = {
            FAST: lambda some: _ours(engine, some, folder, mode="fast"),
            EXACT: lambda some: _ours(engine, some, folder, mode="exact"),
            THEIRS: lambda some: _theirs(oracle, some, device),
        }
        try:
            process = stack.enter_context(_faster_whisper(oracle, folder, device, threads, peers_python))
            _elsewhere(process, recordings[:1])  # some find only now that a library is missing
            found.versions[PEER] = process.version
            ways[PEER] = lambda some: _elsewhere(process, some)
        except PeerError as error:
            found.versions[PEER] = str(error)
        texts = _take_turns(ways, recordings, found, rounds)
    found.word_error_rate = {name: _error_rate(recordings, said) for name, said in texts.items()}
    found.same_texts = sum(one == other for one, other in zip(texts[EXACT], texts[THEIRS], strict=True))
    for name, mode in ((FAST, "fast"), (EXACT, "exact")):
        with engine.equipment.models.lease("demo", lambda: None) as model:
            found.shares[name] = _shares(model, recordings, folder, mode)
    return found


def _take_turns(
    ways: dict[str, Way], recordings: Sequence[Recording], found: Files, rounds: int
) -> dict[str, list[str]]:
    """The texts of the last round. Everybody warms up on one recording first: some compile at their first word."""
    texts: dict[str, list[str]] = {}
    for way in ways.values():
        way(recordings[:1])
    for number in range(rounds):
        for name, way in ways.items():
            seconds, texts[name] = way(recordings)
            found.seconds.setdefault(name, []).append(seconds)
        last = ", ".join(f"{name} {found.audio_s / times[-1]:.1f}x" for name, times in found.seconds.items())
        print(f"  files: round {number + 1} of {rounds}: {last}", flush=True)
    return texts


def _openai_model(device: torch.device) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # on torch.load without weights_only
        return whisper.load_model(str(CHECKPOINT), device=device)


def _gate(oracle: Any, recordings: Sequence[Recording], folder: Path, device: torch.device) -> int:
    """In float32, the first window of each recording: our tokens are whisper.decode's. Raises GateError."""
    torch.backends.cudnn.allow_tf32 = False
    network = Network(oracle.state_dict(), oracle.dims, device=device, dtype=torch.float32)
    mels = []
    for recording in recordings[:PEER_BATCH]:
        samples = decoded(recording.path, folder / "gate.s16")
        mels.append(LogMel(samples, n_mels=oracle.dims.n_mels, peak=None).frames(0, 3000).to(device))
    sounds = Sounds({"speech": mels}, oracle.encoder)
    _, mine = Ours(network, sounds).run(Task("speech", len(mels), len(mels), encoded=False))
    options = whisper.DecodingOptions(language="en", fp16=False)
    Gate().compare(oracle, mels, mine, [whisper.decode(oracle, mel, options).tokens for mel in mels])
    torch.backends.cudnn.allow_tf32 = True
    return len(mels)


def _ours(
    engine: WhisperEngine, recordings: Sequence[Recording], folder: Path, *, mode: str
) -> tuple[float, list[str]]:
    """All of them as one job of a child, from its files to its transcripts."""
    task = task_of(recordings, folder / "job", mode=mode)
    start = time.perf_counter()
    for _ in engine.run(task, lambda: False):
        pass
    seconds = time.perf_counter() - start
    texts = texts_of(task)
    shutil.rmtree(task.folder)
    return seconds, texts


def _by_themselves(model: Model, recordings: Sequence[Recording], folder: Path, *, mode: str) -> float:
    """Seconds for one after the other."""
    options = Options(model="demo", decode=mode)
    start = time.perf_counter()
    for one in recordings:
        scratch, journal = folder / "alone.s16", folder / "alone.jsonl"
        heard = sounds.Recording(sounds.Whole(decoded(one.path, scratch)), one.path.name)
        run = run_name(model, heard.sha256, options)
        for _ in recognize_alone(model, heard, options, journal=Journal(journal, run=run)):
            pass
        scratch.unlink()
        journal.unlink()
    return time.perf_counter() - start


def _theirs(oracle: Any, recordings: Sequence[Recording], device: torch.device) -> tuple[float, list[str]]:
    half = device.type == "cuda"
    start = time.perf_counter()
    texts = [oracle.transcribe(str(one.path), word_timestamps=True, fp16=half)["text"] for one in recordings]
    return time.perf_counter() - start, texts


def _elsewhere(process: PeerProcess, recordings: Sequence[Recording]) -> tuple[float, list[str]]:
    answer = process.ask(do="files", paths=[str(one.path) for one in recordings], batch=PEER_BATCH)
    return answer["seconds"], answer["texts"]


@contextmanager
def _faster_whisper(
    oracle: Any, folder: Path, device: torch.device, threads: int, python: Path
) -> Iterator[PeerProcess]:
    weights = folder / "weights-demo"
    if python.exists():
        write_weights(weights, oracle.state_dict(), oracle.dims, torch.float32)
    load = {"kind": PEER, "folder": str(weights), "device": device.type, "threads": threads}
    with peer(python, folder / "files-peer.log", **load) as process:
        yield process


@contextmanager
def _ffmpeg_on_path(folder: Path) -> Iterator[None]:
    """transcribe() calls ffmpeg by its name; it gets the very one that ours calls."""
    found = find_ffmpeg()
    assert found is not None, "there is no ffmpeg"
    named = folder / "bin"
    named.mkdir()
    (named / "ffmpeg").symlink_to(found)
    with mock.patch.dict(os.environ, {"PATH": f"{named}{os.pathsep}{os.environ['PATH']}"}):
        yield


def _error_rate(recordings: Sequence[Recording], texts: Sequence[str]) -> float:
    """Of all words together."""
    each = [word_errors(reference=one.text, hypothesis=text) for one, text in zip(recordings, texts, strict=True)]
    return sum(one.errors for one in each) / sum(one.words for one in each)


STAGES = (
    ("VAD", SpeechNetwork, "_part"),
    ("VAD", detector, "voiced"),
    ("VAD", detector, "pack"),
    ("mel", spectrogram, "_power"),
    ("mel", LogMel, "frames"),
    ("mel", LogMel, "stretch"),
    ("encoder", Network, "encode"),
    ("cross-KV and prefill", Lane, "seat"),
    ("steps", Lane, "step"),
    ("word times", Places, "attend"),
    ("word times", alignment.Attention, "alignment"),
    ("word times", word_times, "_with_words"),
)


def stopwatch(seconds: dict[str, float]) -> Callable[[str, Callable[..., Any]], Callable[..., Any]]:
    """Make what adds a function's time, and that of the device for it, to that of its stage: what happens inside of
    another stage, in the same thread, counts for that one alone."""
    here, adding = threading.local(), threading.Lock()

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            if getattr(here, "is_inside", False):
                return function(*args, **kwargs)
            here.is_inside, start = True, time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                if torch.cuda.is_initialized():  # not the device: that is an error while another thread records a step
                    torch.cuda.current_stream().synchronize()
                here.is_inside = False
                with adding:
                    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start

        return run

    return timed


def _shares(model: Model, recordings: Sequence[Recording], folder: Path, mode: str) -> dict[str, float]:
    """Seconds by stage, one recording at a time; on a GPU several threads are at it, and "other" may be nothing."""
    seconds: dict[str, float] = {}
    timed = stopwatch(seconds)
    with ExitStack() as stack:
        for name, owner, attribute in STAGES:
            stack.enter_context(mock.patch.object(owner, attribute, timed(name, getattr(owner, attribute))))
        for name, attribute in (("decode of the file", "decoded"),):
            stack.enter_context(mock.patch.dict(globals(), {attribute: timed(name, globals()[attribute])}))
        whole_s = _by_themselves(model, recordings, folder, mode=mode)
    return {**seconds, "other": max(0.0, whole_s - float(np.sum(list(seconds.values()))))}
