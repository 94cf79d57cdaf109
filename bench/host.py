"""What the host costs a window on a GPU: CPU time of the thread that makes the decoder's rounds, which nothing hides.

    python -W ignore bench/host.py [--windows 256] [--batch 64] [--before COMMIT] [--rounds 2]

Fast mode with word times, as a job of one long recording; passes through the model and steps are stubbed out, and so
is what graphs replay, so that what is left is the host's. A step takes as long as on a GPU, asleep: how many windows
end in a round, of which the host's work is, depends on it. Ours and that of an earlier commit in turns, each in a
process of its own. graphs_per_window are those that the host launches.

kernels_per_step counts the operators of a step of large-v3 that launch something, Triton's kernels among them, on
tensors of a GPU that is none (stack cu130); plain_kernels_per_step are those without Triton; kernels_per_beam_step are
those of five beams of as many rows together. launches_per_round counts likewise what a round launches by itself: three
windows that come, four steps and the word times of three windows, beside what graphs replay;
unrecorded_launches_per_round are those without graphs.
"""

import argparse
import importlib.util
import inspect
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BEFORE = "002eb3c"
"""The commit before the host's work left the decoder's thread."""
SENTENCE = (
    " the quick brown fox jumps over the lazy dog and then it goes on to talk about many other things that nobody asked"
    " for, because that is what people do. When they are given a microphone and some time, they fill it with words"
)
STEP_S, ROW_S = 0.0005, 0.00006
"""Of a step, and of each of its windows, on one H200 (reckoned): how often the host looks depends on it. A device that
takes no time has a round for a window or two."""
LENGTHS = (76, 12, 103, 88, 61, 140, 45, 83, 97, 24, 118, 70, 79, 52, 131, 37)
"""Of the texts; 76 in the mean."""


def measure(windows: int, batch: int) -> dict[str, float]:  # noqa: PLR0915 - a stub for all that is not measured
    """Milliseconds of a window in the thread of the rounds, in this process's tree."""
    import numpy as np
    import torch
    from whisper.model import ModelDimensions, Whisper
    from whisper.tokenizer import get_tokenizer

    from btworker.engine.asr import mel
    from btworker.engine.asr.decoding import alignment
    from btworker.engine.asr.decoding import decoder as decoding
    from btworker.engine.asr.decoding.lane import Lane
    from btworker.engine.asr.decoding.network import Network
    from btworker.engine.asr.fast import FastLoop
    from btworker.engine.asr.journal import Journal
    from btworker.engine.asr.language import Language
    from btworker.engine.asr.revision import installed_revision
    from btworker.engine.asr.timeline import WINDOW_FRAMES, Window
    from btworker.engine.asr.transcriber import Transcriber, WindowOptions
    from btworker.engine.cooperate.side_by_side import side_by_side
    from btworker.jobs import Options

    torch.set_num_threads(1)
    dims = ModelDimensions(1, 1500, 8, 1, 1, 51866, 448, 8, 1, 1)  # mel bands are of the device
    torch.manual_seed(0)
    network = Network(Whisper(dims).state_dict(), dims, device=torch.device("cpu"), dtype=torch.float32)
    network.encode = lambda mels: torch.zeros(len(mels), 1500, 8)
    network.logits = lambda hidden: torch.zeros(1, 1).expand(len(hidden), dims.n_vocab)
    _stub_times(alignment)
    mel._power = _converted_only(mel)  # noqa: SLF001 - what the host does of it
    tokenizer = get_tokenizer(multilingual=True, num_languages=100, language="en", task="transcribe")
    words = tokenizer.encode(SENTENCE)
    table = torch.tensor([words[place % len(words)] for place in range(500)])
    for name in ("STEPS_PER_ROUND", "ENCODE_BATCH", "ROUNDS_AHEAD"):
        numbers = getattr(decoding, name, {"cuda": 0})
        numbers["cpu"] = numbers["cuda"]
    rounds: Counter[int] = Counter()
    spent = [0.0]
    hook = "_begun" if hasattr(Lane, "_begun") else "restart"
    begun, make_round, counted = getattr(Lane, hook), decoding.Decoder._round, [0]  # noqa: SLF001 - as above

    def step(self: Any, count: int, *_: Any, **__: Any) -> None:
        began = time.thread_time()
        time.sleep(STEP_S + count * ROW_S)
        length, done = self.length[:count], self.done[:count]
        self.tokens[:count].scatter_(1, length[:, None], table[length][:, None])
        length += (~done).long()
        done |= length >= self.limit[:count]
        spent[0] += time.thread_time() - began

    def begin(self: Any, window: int, start: Any) -> None:
        begun(self, window, start)
        self.limit[window] = self.length[window] + LENGTHS[counted[0] % len(LENGTHS)]
        counted[0] += 1

    driven_s = [0.0]

    def timed(self: Any) -> None:
        began = time.thread_time()
        make_round(self)
        driven_s[0] += time.thread_time() - began
        rounds[threading.get_ident()] += 1

    _fetch_all_rows(Lane)
    setattr(Lane, hook, begin)
    Lane._step, decoding.Decoder._round = step, timed  # noqa: SLF001 - as above
    replays = [0]
    decoder = _decoder(partial(decoding.Decoder, network, tokenizer, batch_size=batch), spent, replays)
    spent[0], replays[0] = 0.0, 0
    samples = np.random.default_rng(0).integers(-3000, 3000, windows * WINDOW_FRAMES * 160).astype(np.int16)
    model = SimpleNamespace(
        decoder=decoder, log_mel=lambda sound, peak=None: mel.LogMel(sound, n_mels=dims.n_mels, peak=peak)
    )
    plan = SimpleNamespace(
        windows=tuple(Window(index * WINDOW_FRAMES, WINDOW_FRAMES) for index in range(windows)),
        is_whole=True,
        sound_is_whole=True,
        waits_for_sound=False,
        speech_between=lambda *_: [],  # nor some of it
    )
    options = Options(model="x", temperature=0.0)

    def transcriber(code: str) -> Transcriber:
        rules = WindowOptions.of(options)
        return Transcriber(
            decoder, rules, tokenizer=tokenizer, language=code, revision=installed_revision(), seed="host"
        )

    with tempfile.TemporaryDirectory() as folder:
        journal = Journal(Path(folder) / "windows.jsonl", run="host")
        journal.resume()

        async def finish(entry: Any) -> None:
            journal.append(entry)

        loop = FastLoop(model, SimpleNamespace(samples=samples), options, transcriber, plan)
        began_s = time.thread_time()
        piece = loop.run([], languages=Language("en"), finish=finish)
        for _ in side_by_side([lambda: piece], driver=decoder, may_begin=lambda: True):
            pass
        mine_s = time.thread_time() - began_s
    alone = set(rounds) == {threading.get_ident()}
    total_s = (mine_s if alone else driven_s[0]) - spent[0]
    return {
        "ms": 1000 * total_s / windows,
        "steps_ms": 1000 * spent[0] / windows,
        "replays": replays[0] / windows,
        "own_thread": float(not alone),
    }


def _stub_times(alignment: Any) -> None:
    """Times of words are the device's work, too: each token has its share of the window, as soon as it is asked for, so
    that no window is decoded a second time."""
    import torch

    @cache
    def diagonal(tokens: int, positions: int) -> torch.Tensor:
        return (torch.arange(positions) * tokens // positions == torch.arange(tokens)[:, None]).float()

    gives_tensors = hasattr(alignment, "attend")
    alignment.median_of_seven = lambda x: x
    alignment._matrix = lambda weights: diagonal(*weights.shape[-2:])  # noqa: SLF001 - what is stubbed
    alignment._probabilities = lambda _network, _hidden, tokens, _end: (  # noqa: SLF001 - as above
        torch.full((len(tokens),), 0.9) if gives_tensors else (0.9,) * len(tokens)
    )
    if importlib.util.find_spec("btworker.engine.asr.decoding.aligning"):  # by graphs
        from btworker.engine.asr.decoding import aligning

        aligning._matrix = lambda weights, *_: diagonal(*weights.shape[-2:])[None].expand(len(weights), -1, -1)  # noqa: SLF001
        aligning.Aligning._probabilities = lambda _self, _hidden, tokens: torch.full(tokens[:, 1:].shape, 0.9)  # noqa: SLF001


def _fetch_all_rows(lane: Any) -> None:
    """A GPU has them copied in each round, a CPU where one of them is done."""
    if hasattr(lane, "fetch_rows"):
        fetch_rows = lane.fetch_rows
        lane.fetch_rows = lambda self, count, **_: fetch_rows(self, count, anyway=True)


def _decoder(make: Any, spent: list[float], replays: list[int]) -> Any:
    """One with a thread of its own, and steps as graphs, where it can have them: `spent` and `replays` are told how
    long these take on this CPU, and how many there are."""

    def record(work: Any) -> Any:
        def replay() -> Any:
            began, counted_s = time.thread_time(), spent[0]
            given = work()
            replays[0] += 1
            spent[0] = counted_s + time.thread_time() - began  # with what a step inside noted itself
            return given

        return replay

    known, more = inspect.signature(make).parameters, dict[str, Any]()
    if "own_thread" in known:
        more["own_thread"] = True
    if "recording" in known:
        from btworker.engine.asr.decoding.graphs import Recording

        more["recording"] = Recording(lambda: SimpleNamespace(record=record))
    decoder = make(**more)
    if hasattr(decoder, "prepare"):
        decoder.prepare()
    return decoder


def _converted_only(mel: Any) -> Any:
    """A spectrogram's work on the host: to copy samples."""
    import torch

    def power(samples: Any, start: int, count: int, *, n_mels: int, device: Any) -> Any:
        first = start * mel.HOP_LENGTH - mel.N_FFT // 2
        torch.from_numpy(mel._stretch(samples, first, first + (count - 1) * mel.HOP_LENGTH + mel.N_FFT))  # noqa: SLF001
        return torch.ones(n_mels, count, device=device)

    return power


def in_process(tree: Path, windows: int, batch: int) -> dict[str, float]:
    """Measure a tree of the project."""
    command = [sys.executable, "-W", "ignore", str(Path(__file__).resolve()), "--measure", str(windows), str(batch)]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run(command, env=environment, cwd=tree, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> int:
    """Both trees in turns, then the count."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--windows", type=int, default=256)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--before", default=BEFORE, help="the commit to compare with")
    parser.add_argument("--measure", nargs=2, type=int, metavar=("WINDOWS", "BATCH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(*options.measure)))
        return 0
    from support import earlier_tree

    found: dict[str, list[float]] = {"now": [], "before": []}
    replays: list[float] = []
    with earlier_tree(options.before) as earlier:
        for number in range(options.rounds):
            for name, tree in (("before", earlier), ("now", ROOT)):
                one = in_process(tree, options.windows, options.batch)
                found[name].append(one["ms"])
                replays.append(one.get("replays", 0.0))
                where = "a thread of its own" if one["own_thread"] else "the job's thread"
                print(f"  round {number}, {name}: {one['ms']:.2f} ms a window, in {where}", flush=True)
    sys.path[:0] = [str(ROOT), str(ROOT / "bench")]
    from bench.launches import kernels_per_beam_step, kernels_per_step, launches_per_round

    figures = {
        "host_ms_per_window": statistics.median(found["now"]),
        "before_ms_per_window": statistics.median(found["before"]),
        "graphs_per_window": replays[-1],
        "kernels_per_step": kernels_per_step("large-v3", options.batch, fused=True),
        "plain_kernels_per_step": kernels_per_step("large-v3", options.batch, fused=False),
        "kernels_per_beam_step": kernels_per_beam_step("large-v3", options.batch // 5, 5, fused=True),
        "launches_per_round": launches_per_round("large-v3", options.batch, recorded=True),
        "unrecorded_launches_per_round": launches_per_round("large-v3", options.batch, recorded=False),
    }
    print("RESULT " + " ".join(f"{key}={value:.4g}" for key, value in figures.items()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
