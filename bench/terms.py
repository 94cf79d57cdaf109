"""What favoured terms cost a step of the decoder: lanes with and without them, step by step in turns.

    python -W ignore bench/terms.py [--terms 1000] [--steps 60] [--threads 1]

Random weights in the shapes tiny and base, the smallest there are: a larger model's step is longer, the terms' part of
it is not. CPU time of the process, so that other work on the machine counts little.
"""

import argparse
import statistics
import sys
import time
from typing import Any

import torch
from support import ROOT
from whisper.model import ModelDimensions, Whisper
from whisper.normalizers.english import EnglishSpellingNormalizer
from whisper.tokenizer import get_tokenizer

sys.path.insert(0, str(ROOT))
from btworker.engine.asr.decoding.lane import Lane
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.decoding.rules import TokenRules, Vocabulary
from btworker.engine.asr.decoding.seating import Start
from btworker.engine.asr.decoding.trie import Trie, TrieMaker

SHAPES = {
    "tiny": ModelDimensions(80, 1500, 384, 6, 4, 51865, 448, 384, 6, 4),
    "base": ModelDimensions(80, 1500, 512, 8, 6, 51865, 448, 512, 8, 6),
}
BATCHES = (1, 4, 16)


def lane_of(network: Network, tokenizer: Any, windows: int, terms: Trie | None) -> Lane:
    """A lane whose windows hear noise, at their beginning."""
    start = tuple(tokenizer.sot_sequence_including_notimestamps)
    lane = Lane(network, TokenRules(Vocabulary.of(tokenizer), network.dims.n_vocab, network.device), windows=windows)
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
def shares(network: Network, tokenizer: Any, terms: Trie, *, windows: int, steps: int) -> list[float]:
    """By how much each step with terms is longer than the one without them beside it, as a share of that."""
    plain, favouring = (lane_of(network, tokenizer, windows, some) for some in (None, terms))
    pairs = []
    for number in range(steps):
        lanes = (plain, favouring) if number % 2 else (favouring, plain)
        times = {id(lane): step_s(lane, windows) for lane in lanes}
        pairs.append(times[id(favouring)] / times[id(plain)] - 1)
    return pairs[5:]  # the first ones make room


def main() -> int:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--terms", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--threads", type=int, default=1)
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
        for windows in BATCHES:
            share = statistics.median(shares(network, tokenizer, terms, windows=windows, steps=options.steps))
            print(f"{name}, {windows} windows: a step takes {100 * share:+.1f} % CPU time")
            figures.append(f"{name}_b{windows}={100 * share:.1f}")
    print("RESULT", f"terms={len(words)}", *figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
