"""The decode loop beside whisper.decode in a minute: shape tiny, random weights, 50 tokens a window, in turns.

    python -W ignore bench/decode.py [--rounds 3] [--threads 2]

Per window of noise: encoder, what comes before the first token, and the steps; openai-whisper decodes one window at a
time, as its transcribe() does. Nothing is printed unless the tokens are equal. bench/engine.py has the whole picture.
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
from btworker.engine.asr.decoding.lane import Lane
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.decoding.rules import TokenRules, Vocabulary
from btworker.engine.asr.decoding.seating import Start

TOKENS = 50
BATCHES = (1, 4, 16)
DIMS = ModelDimensions(80, 1500, 384, 6, 4, 51865, 448, 384, 6, 4)


def models() -> tuple[Any, Network, Any]:
    """The same weights in openai-whisper's hands and in ours; no text ends by itself."""
    torch.manual_seed(0)
    model = Whisper(DIMS).eval()
    tokenizer = get_tokenizer(multilingual=True, num_languages=99, language="en")
    with torch.no_grad():
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.02)
        model.decoder.token_embedding.weight[tokenizer.eot] = -10 * model.decoder.ln.bias
    return model, Network(model.state_dict(), DIMS, device=torch.device("cpu"), dtype=torch.float32), tokenizer


@torch.inference_mode()
def ours(network: Network, tokenizer: Any, mel: torch.Tensor) -> tuple[float, float, list[tuple[int, ...]]]:
    """Seconds from mel to tokens, seconds of the steps, and the tokens."""
    start, windows = tuple(tokenizer.sot_sequence), len(mel)
    began = time.perf_counter()
    lane = Lane(network, TokenRules(Vocabulary.of(tokenizer), DIMS.n_vocab, network.device), windows=windows)
    starts = [Start(start, timed=True, temperature=0.0, chances=None)] * windows
    lane.seat(range(windows), list(network.encode(mel)), starts)
    stepping = time.perf_counter()
    for _ in range(TOKENS):
        lane.step(windows)
        lane.fetch_rows(windows)
    end = time.perf_counter()
    rows = lane.fetch_rows(windows, anyway=True)
    return end - began, end - stepping, [rows.row(window).tokens for window in range(windows)]


@torch.no_grad()
def theirs(model: Any, mel: torch.Tensor) -> tuple[float, float, tuple[int, ...]]:
    """The same for one window; what whisper.decode is given was encoded before, so that the steps are apart."""
    options = whisper.DecodingOptions(language="en", fp16=False, sample_len=TOKENS)
    began = time.perf_counter()
    heard = model.encoder(mel[None])
    stepping = time.perf_counter()
    result = whisper.decode(model, heard[0], options)
    end = time.perf_counter()
    return end - began, end - stepping, tuple(result.tokens)


def main() -> int:
    """Print the ratios of each round's medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model, network, tokenizer = models()
    mel = torch.randn((max(BATCHES), 80, 3000))
    ours(network, tokenizer, mel[:2]), theirs(model, mel[0])
    steps: dict[int, list[float]] = {size: [] for size in BATCHES}
    windows: dict[int, list[float]] = {size: [] for size in BATCHES}
    print(f"torch {torch.__version__}, openai-whisper {whisper.__version__}, {options.threads} threads")
    for number in range(options.rounds):
        wanted = [theirs(model, mel[index]) for index in range(3)]
        whole, decode = (statistics.median(one[place] for one in wanted) for place in (0, 1))
        print(f"round {number}: whisper.decode {TOKENS / decode:.0f} tokens/s")
        for size in BATCHES:
            mine = ours(network, tokenizer, mel[:size])
            if mine[2][: len(wanted)] != [one[2] for one in wanted][:size]:
                raise SystemExit("the tokens are not equal: no figure")
            steps[size].append(decode * size / mine[1])
            windows[size].append(whole * size / mine[0])
            print(
                f"  ours at batch {size}: {TOKENS * size / mine[1]:.0f} tokens/s, {steps[size][-1]:.2f} times", end=""
            )
            print(f"; from mel to tokens {windows[size][-1]:.2f} times")
    figures = [f"decode_speedup_b{size}={statistics.median(steps[size]):.2f}" for size in BATCHES]
    figures += [f"window_speedup_b{size}={statistics.median(windows[size]):.2f}" for size in BATCHES]
    print("RESULT tokens_equal=1", *figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
