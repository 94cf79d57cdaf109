"""Who decodes windows: ours, openai-whisper, and the peers, all through the same call."""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import whisper
from torch import Tensor
from whisper.audio import N_FRAMES
from whisper.model import ModelDimensions

from bench.speed.machine import synchronize
from bench.speed.peers import PeerProcess
from bench.speed.shapes import tokenizer_of
from btworker.engine.asr.decoding.alignment import Text
from btworker.engine.asr.decoding.decoder import Decoder
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.decoding.requests import Decoded, TextRequest
from btworker.engine.cooperate.ticket import Ticket

Tokens = list[list[int]]
ALIGNING = 10
"""Heads that word times come from."""


@dataclass(frozen=True)
class Task:
    """Some windows of a case, in batches; `encoded`: from what the encoder made of them, which is not timed."""

    case: str
    count: int
    batch: int
    encoded: bool


class Contender(Protocol):
    """One way of decoding windows."""

    name: str

    def takes(self, task: Task) -> bool:
        """Whether it is measured by this task."""

    def run(self, task: Task) -> tuple[float, Tokens]:
        """Seconds, and the tokens of each window, or of the first ones. Raises torch.cuda.OutOfMemoryError."""

    def release(self) -> None:
        """Give back what is not needed between two tasks."""


@dataclass
class Sounds:
    """The windows of each case, on the device and in the run's dtype, and what openai's encoder makes of them."""

    mels: Mapping[str, Sequence[Tensor]]
    encode: Callable[[Tensor], Tensor]
    _features: dict[str, list[Tensor]] = field(default_factory=dict)

    def of(self, task: Task) -> list[Tensor]:
        """The task's windows."""
        if not task.encoded:
            return list(self.mels[task.case][: task.count])
        if task.case not in self._features:
            with torch.inference_mode():
                self._features[task.case] = [self.encode(mel[None])[0].clone() for mel in self.mels[task.case]]
        return self._features[task.case][: task.count]


IN_BYTES, WORD_TIMES = "ours, 8 bits", "ours, word times"
"""In eight bits, texts may differ from those of all bits."""


class Ours:
    """The worker's Decoder, asked for all windows at once."""

    name = "ours"

    has_word_times = False

    def __init__(self, network: Network, sounds: Sounds, *, only: int | None = None) -> None:
        """`only` is the batch by which it is measured; None: by each."""
        self._network = network
        self._sounds = sounds
        self._only = only
        self._tokenizer = tokenizer_of(network.dims)
        self._decoders: dict[int, Decoder] = {}

    def in_bytes(self, *, only: int) -> "Ours":
        """The same with WORKER_SOUND_BITS=8, on the same weights."""
        network = copy.copy(self._network)
        network.sound_bits = 8
        other = Ours(network, self._sounds, only=only)
        other.name = IN_BYTES
        return other

    def with_word_times(self) -> "Ours":
        """The same with the times of words, by the same decoders: their places take nearly all memory."""
        other = copy.copy(self)
        other.name, other.has_word_times = WORD_TIMES, True
        return other

    def takes(self, task: Task) -> bool:
        """See Contender; word times from the mel alone, as a job has them."""
        return self._only in (None, task.batch) and not (self.has_word_times and task.encoded)

    def release(self) -> None:
        """Drop the decoders and their places."""
        self._decoders.clear()

    def run(self, task: Task) -> tuple[float, Tokens]:
        """As a job asks for its windows, without fallback."""
        sounds = self._sounds.of(task)
        if task.batch not in self._decoders:
            decoder = Decoder(self._network, self._tokenizer, batch_size=task.batch)
            if self._network.device.type == "cuda":  # as the worker does when it loads a model
                decoder.prepare()
            self._decoders[task.batch] = decoder
        decoder = self._decoders[task.batch]
        if decoder.batch_size < task.batch:
            raise torch.cuda.OutOfMemoryError(f"there is memory for {decoder.batch_size} windows at once")
        synchronize(self._network.device)
        start = time.perf_counter()
        to_align = self._words if self.has_word_times else _nothing
        tickets = [
            decoder.submit(request_of(self._tokenizer, sound, is_encoded=task.encoded, to_align=to_align))
            for sound in sounds
        ]
        wait_for_all(decoder, tickets)
        synchronize(self._network.device)
        if decoder.batch_size < task.batch:
            raise torch.cuda.OutOfMemoryError(f"there was memory for {decoder.batch_size} windows at once")
        return time.perf_counter() - start, [list(ticket.answer.tokens) for ticket in tickets]

    def _words(self, decoded: Decoded) -> Text | None:
        signs = (*self._tokenizer.sot_sequence, self._tokenizer.no_timestamps)
        words = tuple(token for token in decoded.tokens if token < self._tokenizer.eot)
        return Text(signs, words, N_FRAMES) if words else None


def _nothing(_decoded: Decoded) -> None:
    """Wants no times."""


def aligning_heads(dims: ModelDimensions) -> set[tuple[int, int]]:
    """As many heads as follow the sound in openai's large models, in the upper half of the layers."""
    upper = [(layer, head) for head in range(dims.n_text_head) for layer in range(dims.n_text_layer)]
    return set([one for one in upper if one[0] >= dims.n_text_layer // 2][:ALIGNING])


def request_of(
    tokenizer: Any,
    sound: Tensor,
    *,
    is_encoded: bool = False,
    to_align: Callable[[Decoded], Text | None] = _nothing,
) -> TextRequest:
    """A window as a job asks for it, without fallback."""
    return TextRequest(
        sound=sound,
        is_encoded=is_encoded,
        start=tuple(tokenizer.sot_sequence),
        sot=0,
        timed=True,
        temperatures=(0.0,),
        beams=1,
        seed="",
        unacceptable=lambda _: False,
        to_align=to_align,
    )


def wait_for_all(decoder: Decoder, tickets: Sequence[Ticket[Decoded]]) -> None:
    """Drive the decoder until every window has its text."""
    for ticket in tickets:
        decoder.wait([ticket])


THEIR_MOST = {"cuda": 16, "cpu": 1 << 30}
"""Windows that openai-whisper is measured by, and its batch at most: on a GPU, 64 take it 40 GB and minutes."""


class OpenAi:
    """whisper.decode with the task's batch, greedy, with timestamps."""

    name = "openai-whisper"

    def __init__(self, model: Any, sounds: Sounds, device: torch.device) -> None:
        self._model = model
        self._sounds = sounds
        self._device = device

    def takes(self, task: Task) -> bool:
        """See Contender."""
        del task
        return True

    def release(self) -> None:
        """See Contender."""

    def run(self, task: Task) -> tuple[float, Tokens]:
        """One call for each batch; seconds are those of all windows, by the first ones."""
        most = THEIR_MOST[self._device.type]
        sounds = self._sounds.of(task)[:most]
        options = whisper.DecodingOptions(language="en", fp16=self._device.type == "cuda")
        synchronize(self._device)
        start = time.perf_counter()
        said = []
        batch = min(task.batch, most)
        for first in range(0, len(sounds), batch):
            said += whisper.decode(self._model, torch.stack(sounds[first : first + batch]), options)
        synchronize(self._device)
        seconds = (time.perf_counter() - start) * task.count / len(sounds)
        return seconds, [list(one.tokens) for one in said]


class Elsewhere:
    """A peer in its own process."""

    def __init__(self, name: str, process: PeerProcess) -> None:
        self.name = name
        self._process = process

    def takes(self, task: Task) -> bool:
        """See Contender."""
        del task
        return True

    def release(self) -> None:
        """See Contender."""

    def run(self, task: Task) -> tuple[float, Tokens]:
        """Timed over there."""
        answer = self._process.ask(do="windows", **vars(task))
        return answer["seconds"], answer["tokens"]
