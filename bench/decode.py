"""The decode loop beside whisper.decode in a minute: random weights, 50 tokens a window, in turns.

    python -W ignore bench/decode.py [--shape base] [--rounds 3] [--threads 2]

Per window of noise: encoder, what comes before the first token, and the steps; openai-whisper decodes one window at a
time, as its transcribe() does. Ours has the products that are chosen when a model is loaded; those of torch are beside
it where others are chosen. Nothing is printed unless the tokens are equal. bench/engine.py has the whole picture.
"""

import argparse
import statistics
import sys
import time
from typing import Any

import torch
import whisper
from support import ROOT
from whisper.model import ModelDimensions, Whisper
from whisper.tokenizer import get_tokenizer

sys.path.insert(0, str(ROOT))
from btworker.engine.asr.decoding.kernels.choosing import set_kernels
from btworker.engine.asr.decoding.kernels.products import BY_TORCH, soonest
from btworker.engine.asr.decoding.lane import Lane
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.decoding.rules import TokenRules, Vocabulary
from btworker.engine.asr.decoding.seating import Start

TOKENS = 50
BATCHES = (1, 4, 16)
CPU = torch.device("cpu")
SHAPES = {
    "tiny": ModelDimensions(80, 1500, 384, 6, 4, 51865, 448, 384, 6, 4),
    "base": ModelDimensions(80, 1500, 512, 8, 6, 51865, 448, 512, 8, 6),
}


def clock() -> float:
    """CPU time where one thread computes, which other work on the machine changes little; else the time that passes."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def models(dims: ModelDimensions) -> tuple[Any, dict[str, Network], Any]:
    """The same weights in openai-whisper's hands and in ours, by the name of their products; no text ends by itself."""
    torch.manual_seed(0)
    model = Whisper(dims).eval()
    tokenizer = get_tokenizer(multilingual=True, num_languages=99, language="en")
    with torch.no_grad():
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.02)
        model.decoder.token_embedding.weight[tokenizer.eot] = -10 * model.decoder.ln.bias
    chosen = soonest(dims.n_text_state, CPU, torch.float32)
    networks = {
        products.name: Network(model.state_dict(), dims, device=CPU, dtype=torch.float32, products=products)
        for products in (chosen, BY_TORCH)
    }
    for network in networks.values():
        set_kernels(network)
    return model, networks, tokenizer


@torch.inference_mode()
def ours(network: Network, tokenizer: Any, mel: torch.Tensor) -> tuple[float, float, list[tuple[int, ...]]]:
    """Seconds from mel to tokens, seconds of the steps, and the tokens."""
    start, windows = tuple(tokenizer.sot_sequence), len(mel)
    began = clock()
    lane = Lane(network, TokenRules(Vocabulary.of(tokenizer), network.dims.n_vocab, network.device), windows=windows)
    starts = [Start(start, timed=True, temperature=0.0, chances=None)] * windows
    lane.seat(range(windows), list(network.encode(mel)), starts)
    stepping = clock()
    for _ in range(TOKENS):
        lane.step(windows)
        lane.fetch_rows(windows)
    end = clock()
    rows = lane.fetch_rows(windows, anyway=True)
    return end - began, end - stepping, [rows.row(window).tokens for window in range(windows)]


@torch.no_grad()
def theirs(model: Any, mel: torch.Tensor) -> tuple[float, float, tuple[int, ...]]:
    """The same for one window; what whisper.decode is given was encoded before, so that the steps are apart."""
    options = whisper.DecodingOptions(language="en", fp16=False, sample_len=TOKENS)
    began = clock()
    heard = model.encoder(mel[None])
    stepping = clock()
    result = whisper.decode(model, heard[0], options)
    end = clock()
    return end - began, end - stepping, tuple(result.tokens)


def main() -> int:
    """Print the ratios of each round's medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model, networks, tokenizer = models(SHAPES[options.shape])
    mel = torch.randn((max(BATCHES), 80, 3000))
    theirs(model, mel[0])
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    print(f"torch {torch.__version__}, openai-whisper {whisper.__version__}, {options}")
    for number in range(options.rounds):
        wanted = [theirs(model, mel[index]) for index in range(3)]
        whole, decode = (statistics.median(one[place] for one in wanted) for place in (0, 1))
        print(f"round {number}: whisper.decode {TOKENS / decode:.0f} tokens/s")
        for size in BATCHES:
            for name, network in networks.items():
                mine = ours(network, tokenizer, mel[:size])
                if mine[2][: len(wanted)] != [one[2] for one in wanted][:size]:
                    raise SystemExit("the tokens are not equal: no figure")
                ratios = decode * size / mine[1], whole * size / mine[0]
                found.setdefault((name, size), []).append(ratios)
                print(f"  ours by {name} at batch {size}: {TOKENS * size / mine[1]:.0f} tokens/s", end="")
                print(f", {ratios[0]:.2f} times; from mel to tokens {ratios[1]:.2f} times", flush=True)
    figures = []
    for (name, size), ratios in found.items():
        behind = "" if name == next(iter(networks)) else f"_by_{name}"
        for what, place in (("decode", 0), ("window", 1)):
            figures.append(f"{what}_speedup_b{size}{behind}={statistics.median(one[place] for one in ratios):.2f}")
    print("RESULT tokens_equal=1", *figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
