"""Operators that launch something on a GPU, counted on tensors of a GPU that is none (stack cu130): views left out, a
kernel of Triton's as one.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any
from unittest import mock

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from whisper.model import Whisper

from bench.speed.shapes import SHAPES, tokenizer_of
from btworker.engine.asr.decoding.alignment import Text
from btworker.engine.asr.decoding.beam import BeamLane
from btworker.engine.asr.decoding.favoured import NO_TERMS
from btworker.engine.asr.decoding.graphs import Recording
from btworker.engine.asr.decoding.lane import Lane
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.decoding.places import Places, TextEntry
from btworker.engine.asr.decoding.requests import TextRequest
from btworker.engine.asr.decoding.rules import TokenRules, Vocabulary
from btworker.engine.cooperate.ticket import Ticket

VIEWS = frozenset(
    "view _unsafe_view reshape permute transpose slice select unsqueeze squeeze expand t alias detach as_strided split "
    "unbind _reshape_alias unfold split_with_sizes unsafe_split movedim device".split()
)
"""Operators that launch nothing."""
PROCESSORS = 132
"""Of an H100 or an H200."""
CUDA = torch.device("cuda:0")
WINDOWS, STEPS, WORDS = 3, 4, 72
"""Windows that come in a round and that end in it, the round's steps, and tokens of their words."""


class Launches(TorchDispatchMode):
    """Counts them."""

    count = 0

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        """See TorchDispatchMode."""
        name = function.overloadpacket.__name__
        self.count += name not in VIEWS
        self.count += name == "attend_to_sound" and arguments[-1] > 1  # what was shared out is joined
        return function(*arguments, **(named or {}))


class _Event:
    """Of no stream."""

    def __init__(self, *, blocking: bool) -> None:
        """Take note how to wait."""

    def record(self) -> None:
        """Come after what is queued."""

    synchronize = record


class _GivesTheSame:
    """A recorder whose steps launch nothing when they are run again."""

    def record(self, step: Callable[[], Any]) -> Callable[[], Any]:
        """See Recorder."""
        given = step()
        return lambda: given


@cache
def shapes_of(shape: str) -> dict[str, tuple[int, ...]]:
    """Tensors of a checkpoint, without the ten seconds in which large-v3's weights are drawn, even of no memory."""
    with ExitStack() as stack:
        for layer in (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Embedding):
            stack.enter_context(mock.patch.object(layer, "reset_parameters"))
        stack.enter_context(torch.device("meta"))
        shapes = {name: tuple(tensor.shape) for name, tensor in Whisper(SHAPES[shape]).state_dict().items()}
    shapes.pop("alignment_heads", None)
    return shapes


@contextmanager
def lane_of(shape: str, windows: int, *, fused: bool, recording: Recording, beams: int = 1) -> Iterator[Lane]:
    """A lane of this shape on a GPU that is none; `fused`: with Triton's kernels."""
    dims, empty = SHAPES[shape], torch.empty

    def unpinned(*sizes: Any, **named: Any) -> torch.Tensor:
        return empty(*sizes, **{name: value for name, value in named.items() if name != "pin_memory"})

    with ExitStack() as stack:
        for owner, name, value in (
            (torch.Tensor, "to_sparse", lambda self, *_, **__: self),  # which a tensor without memory has not
            (torch.Tensor, "pin_memory", lambda self: self),
            (torch, "empty", unpinned),
            (torch.cuda, "Event", _Event),
        ):
            stack.enter_context(mock.patch.object(owner, name, value))
        shapes = shapes_of(shape)
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        stack.enter_context(torch.no_grad())
        state = {name: torch.empty(shape, device=CUDA, dtype=torch.float16) for name, shape in shapes.items()}
        network = Network(state, dims, device=CUDA, dtype=torch.float16)
        network.align_by((dims.n_text_layer // 2 + number % (dims.n_text_layer // 2), number) for number in range(10))
        if fused:
            from btworker.engine.asr.decoding.kernels.fused import FusedKernels

            network.kernels = FusedKernels(PROCESSORS)
        rules = TokenRules(Vocabulary.of(tokenizer_of(dims)), dims.n_vocab, CUDA)
        kind: Callable[..., Lane] = Lane if beams == 1 else BeamLane
        yield kind(network, rules, windows=windows, beams=beams, recording=recording)


def kernels_per_step(shape: str, rows: int, *, fused: bool) -> int:
    """Count those of one step, of which a graph is made."""
    with lane_of(shape, rows, fused=fused, recording=Recording(None)) as lane, Launches() as launches:
        lane._step(rows, 128, hot=False, widths=NO_TERMS)  # noqa: SLF001 - what a graph records
    return launches.count


def kernels_per_beam_step(shape: str, windows: int, beams: int, *, fused: bool) -> int:
    """Count those of one step of beams: before the host's look, and after it."""
    recording = Recording(None)
    with lane_of(shape, windows, fused=fused, recording=recording, beams=beams) as lane, Launches() as launches:
        assert isinstance(lane, BeamLane)
        lane._likeliest(windows, 128, widths=NO_TERMS)  # noqa: SLF001 - what graphs record
        lane._follow(windows, 128, widths=NO_TERMS)  # noqa: SLF001 - as above
    return launches.count


def launches_per_round(shape: str, rows: int, *, recorded: bool) -> int:
    """Count those of a round in which windows come and others end, with the times of their words; beside its graphs,
    each of which is a launch, where it is `recorded`."""
    recording = Recording(_GivesTheSame if recorded else None)
    with lane_of(shape, rows, fused=True, recording=recording) as lane:
        places, dims = Places(lane), SHAPES[shape]
        tokenizer = tokenizer_of(dims)
        signs = tuple(tokenizer.sot_sequence_including_notimestamps)
        text = Text(signs, tuple(range(1000, 1000 + WORDS)), 3000)
        features = torch.empty(dims.n_audio_ctx, dims.n_audio_state, device=CUDA, dtype=torch.float16)
        request = TextRequest(
            sound=features,
            start=signs,
            sot=0,
            timed=False,
            temperatures=(0.0,),
            beams=1,
            seed="bench",
            unacceptable=lambda _: False,
            to_align=lambda _: text,
            is_encoded=True,
        )
        for _ in range(2 if recorded else 1):  # what is launched the first time is recorded
            entries = [TextEntry(request, Ticket()) for _ in range(WINDOWS)]
            with Launches() as launches:
                places.seat(entries)
                places.step(STEPS)
                places.attend([(entry, text) for entry in entries])
                for entry in entries:
                    places.leave(entry)
    return launches.count + (STEPS + 2 if recorded else 0)
