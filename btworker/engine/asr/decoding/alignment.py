"""When each token was spoken: openai-whisper's alignment by the attention to the sound, for many windows in one pass.

Only the heads that follow the sound are kept, and the sound is not encoded again. The steps and their numbers (softmax
over the window's own frames, normalisation over tokens, a median filter of 7, the mean over heads, dynamic time
warping) are those of whisper.timing.find_alignment.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from torch import Tensor
from whisper import timing

from btworker.engine.asr.decoding.layers import KeysValues
from btworker.engine.asr.decoding.memory import fetch, send
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.decoding.warping import warp

EXCHANGES = ((0, 5), (0, 3), (1, 6), (2, 4), (0, 1), (3, 5), (2, 6), (2, 3), (3, 6), (4, 5), (1, 4), (1, 3), (3, 4))
"""A network that puts the median of seven values at place 3: each pair is put in order (Devillard, Fast median search,
1998). Four times faster than sorting, which is what whisper.timing does."""
TOKENS_PER_SECOND = 50


@dataclass(frozen=True, slots=True)
class Text:
    """What is to be aligned."""

    start: tuple[int, ...]
    """The signs of language and task, and the one for no timestamps."""
    tokens: tuple[int, ...]
    """Words only."""
    frames: int
    """How long the window is, in frames of 10 ms."""


@dataclass(frozen=True, slots=True)
class Alignment:
    """Where in the window each token begins."""

    tokens: tuple[int, ...]
    starts_s: npt.NDArray[np.float64]
    """Seconds from the window's start, one more than there are tokens: the last is where the text ends."""
    probabilities: tuple[float, ...]
    attention: npt.NDArray[np.float32]
    """How much of one token's attention is on each 20 ms of the window, at most; the mean over heads. Sound that the
    text leaves out has little."""


def align(network: Network, texts: Sequence[Text], sound: list[KeysValues], *, end: int) -> list[Alignment]:
    """Align texts with the sound of their windows, (2, n, …) a layer. `end` is the token after all words."""
    return [attention.alignment() for attention in attend(network, texts, sound, end=end)]


@dataclass(frozen=True, slots=True)
class Attention:
    """Where each token of a text looks, on its way from the device."""

    text: Text
    matrix: Tensor
    """(tokens, frames / 2), on the CPU."""
    probabilities: Tensor
    """Of the words, on the CPU."""
    most: Tensor
    """See Alignment.attention; on the CPU."""
    is_there: Callable[[], None]
    """Waits for all of them."""

    def alignment(self) -> Alignment:
        """Find the times; may run in any thread, and lets other threads run."""
        self.is_there()
        of_token, at = warp(-self.matrix.double().numpy())
        begins = np.diff(of_token, prepend=of_token[0] - 1).astype(bool)
        starts_s = np.asarray(at[begins] / TOKENS_PER_SECOND, dtype=np.float64)
        return Alignment(self.text.tokens, starts_s, tuple(self.probabilities.tolist()), self.most.numpy())


@torch.inference_mode()
def attend(network: Network, texts: Sequence[Text], sound: Iterable[KeysValues], *, end: int) -> list[Attention]:
    """Read the texts beside the sound of their windows, as align(). Waits for nothing on a GPU."""
    rows = [[*text.start, *text.tokens, end] for text in texts]
    longest = max(map(len, rows))
    padded = send(torch.tensor([row + [end] * (longest - len(row)) for row in rows]), network.device)
    scores: list[Tensor] = []
    hidden, _ = network.read(padded, sound, scores=scores)
    by_head = torch.cat(scores, dim=1)
    computed = []
    for index, (text, row) in enumerate(zip(texts, rows, strict=True)):
        skip = len(text.start) - 1
        words = padded[index, skip + 1 : len(row) - 1]
        weights = by_head[index, :, : len(row), : text.frames // 2].softmax(-1)
        probabilities = _probabilities(network, hidden[index, skip : len(row) - 2], words, end)
        most = weights[:, skip:-1].mean(dim=0).amax(dim=0)
        computed += [_matrix(weights)[skip:-1], probabilities, most]
    fetched, is_there = fetch(computed)
    parts = zip(texts, fetched[::3], fetched[1::3], fetched[2::3], strict=True)
    return [Attention(*part, is_there) for part in parts]


def words(alignment: Alignment, tokenizer: Any) -> list[Any]:
    """Make whisper.timing's WordTiming for each word of the text."""
    end = tokenizer.eot
    texts, parts = tokenizer.split_to_word_tokens([*alignment.tokens, end])
    borders = np.cumsum([0, *(len(part) for part in parts[:-1])])
    starts = alignment.starts_s
    return [
        timing.WordTiming(text, part, starts[first], starts[last], float(np.mean(alignment.probabilities[first:last])))
        for text, part, first, last in zip(texts, parts, borders[:-1], borders[1:], strict=False)
    ]


def median_of_seven(x: Tensor) -> Tensor:
    """Compute the median of each value and the three on either side, along the last dimension, mirrored at the ends."""
    length = x.shape[-1]
    if length <= 3:  # there is nothing to mirror
        return x
    padded = F.pad(x, (3, 3, 0, 0), mode="reflect")
    return middle_of_seven([padded[..., shift : shift + length] for shift in range(7)])


def middle_of_seven(values: list[Tensor]) -> Tensor:
    """Find the median of seven tensors, element by element; puts the list in order."""
    for low, high in EXCHANGES:
        one, other = values[low], values[high]
        values[low], values[high] = torch.minimum(one, other), torch.maximum(one, other)
    return values[3]


def _probabilities(network: Network, hidden: Tensor, tokens: Tensor, end: int) -> Tensor:
    """Probability of each word token among all word tokens, after those before it."""
    logits = network.logits(hidden)[:, :end]
    return (logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(-1)).exp()


def _matrix(weights: Tensor) -> Tensor:
    """Compute where each token looks, from the attention of heads; (heads, tokens, n) -> (tokens, n)."""
    deviation, mean = torch.std_mean(weights, dim=-2, keepdim=True, unbiased=False)
    return median_of_seven((weights - mean) / deviation).mean(dim=0)
