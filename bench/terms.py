"""What favoured terms cost a step of the decoder: lanes with and without them, step by step in turns.

    python -W ignore bench/terms.py [--terms 1000] [--steps 60] [--threads 1] [--beams 1] [--windows 1 4 16]

Random weights in the shapes tiny and base, the smallest there are: a larger model's step is longer, the terms' part of
it is not. CPU time of the process, so that other work on the machine counts little. With beams, both lanes have as many
rows: those that a window with terms has, one more than its beams.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from support import ROOT
from whisper.model import ModelDimensions, Whisper
from whisper.normalizers.english import EnglishSpellingNormalizer
from whisper.tokenizer import get_tokenizer

sys.path.insert(0, str(ROOT))
from btworker.engine.asr.decoding.beam import BeamLane
from btworker.engine.asr.decoding.lane import Lane
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.decoding.rules import TokenRules, Vocabulary
from btworker.engine.asr.decoding.seating import Start
from btworker.engine.asr.decoding.trie import Trie, TrieMaker

SHAPES = {
    "tiny": ModelDimensions(80, 1500, 384, 6, 4, 51865, 448, 384, 6, 4),
    "base": ModelDimensions(80, 1500, 512, 8, 6, 51865, 448, 512, 8, 6),
}


def lane_of(network: Network, tokenizer: Any, windows: int, terms: Trie | None, *, beams: int) -> Lane:
    """A lane whose windows hear noise, at their beginning."""
    start = tuple(tokenizer.sot_sequence_including_notimestamps)
    rules = TokenRules(Vocabulary.of(tokenizer), network.dims.n_vocab, network.device)
    kind: Callable[..., Lane] = partial(BeamLane, beams=beams + 1) if beams > 1 else Lane
    lane = kind(network, rules, windows=windows)
    features = torch.randn(1, network.dims.n_audio_ctx, network.dims.n_audio_state).expand(windows, -1, -1)
    starts = [Start(start, timed=False, temperature=0.0, chances=None, terms=terms)] * windows
    lane.seat(range(windows), list(features), starts)
    return lane


def step_s(lane: Lane, windows: int) -> float:
    """CPU seconds of one step."""
    began = time.process_time()
    lane.step(windows)
    return time.process_time() - began


@torch.inference_mode()
def shares(
    network: Network, tokenizer: Any, terms: Trie, *, windows: int, steps: int, beams: int
) -> list[tuple[float, float]]:
    """Of each pair of steps: by how much that with terms is longer, as a share of the other, and that one's seconds."""
    plain, favouring = (lane_of(network, tokenizer, windows, some, beams=beams) for some in (None, terms))
    pairs = []
    for number in range(steps):
        lanes = (plain, favouring) if number % 2 else (favouring, plain)
        times = {id(lane): step_s(lane, windows) for lane in lanes}
        pairs.append((times[id(favouring)] / times[id(plain)] - 1, times[id(plain)]))
    return pairs[5:]  # the first ones make room


def main() -> int:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--terms", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--beams", type=int, default=1)
    parser.add_argument("--windows", type=int, nargs="+", default=[1, 4, 16])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    tokenizer = get_tokenizer(multilingual=True, num_languages=99, language="en")
    words = list(EnglishSpellingNormalizer().mapping)[: options.terms]
    maker = TrieMaker(tokenizer, banned=Vocabulary.of(tokenizer).suppressed)
    began = time.process_time()
    terms = maker.make(words, bonus=2.0)
    assert terms is not None
    print(
        f"{len(words)} terms, {terms.nodes} nodes, made in {time.process_time() - began:.2f} s; at most {terms.widths}"
    )
    figures = []
    for name, dims in SHAPES.items():
        network = Network(Whisper(dims).state_dict(), dims, device=torch.device("cpu"), dtype=torch.float32)
        for windows in options.windows:
            pairs = shares(network, tokenizer, terms, windows=windows, steps=options.steps, beams=options.beams)
            share, step = (statistics.median(some) for some in zip(*pairs, strict=True))
            print(f"{name}, {windows} windows: a step takes {100 * share:+.1f} % of {1000 * step:.1f} ms of CPU time")
            figures.append(f"{name}_b{windows}={100 * share:.1f}")
    print("RESULT", f"terms={len(words)} beams={options.beams}", *figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
