"""Samples -> turns. One Diarizer a child, loaded once; coroutines around pyannote's blocking call.

On a GPU it is at work for several at once: see relay.py for blocks, ahead.py for the chunks of a block.
"""

import queue
import threading
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from pyannote.audio import Pipeline
from pyannote.core import Annotation

from btworker.engine.cooperate.side_by_side import together
from btworker.engine.cooperate.ticket import Condition, checkpoint
from btworker.engine.diarization.blocks import Block, BlockTurns, merged, plan
from btworker.engine.diarization.loading import load_pipeline
from btworker.engine.diarization.pipeline import OnePassDiarization, accelerated, annotations, embedding_id
from btworker.engine.diarization.relay import Hook, Place, Relay
from btworker.engine.diarization.source import batch_sizes, diarization_device
from btworker.engine.diarization.speakers import in_order_of_appearance, names_by_appearance, renamed_alike
from btworker.engine.stack.faults import is_short_of_memory, translate, without_frames
from btworker.engine.stack.gpu_turns import OwnStream, free_bytes, release_cached_memory
from btworker.ffmpeg import SAMPLE_RATE
from btworker.jobs import Options
from btworker.logs import get_logger
from btworker.specs import EngineSettings
from btworker.transcript import Turn

log = get_logger()
Result = TypeVar("Result")
Found = tuple[Annotation, Annotation | None, npt.NDArray[Any] | None]
"""See annotations()."""
BLOCKS_AT_ONCE = 2
"""One at the networks and one at the clusters."""
SOUND_SHARE = 0.1
"""Of the memory that is free: of an hour 230 MB."""
STAGE_SHARES = {"segmentation": (0.0, 0.3), "embeddings": (0.3, 0.95)}
"""Where the time of a block goes, for the progress: its first and last share."""
POLL_S = 0.2
"""Seconds between two checkpoints while pyannote is at work."""
DEFAULT_THRESHOLD = 0.7
"""Distance of unit vectors up to which two centroids are one person, where the pipeline has no threshold of its own."""


@dataclass(frozen=True, slots=True)
class DiarizationProgress:
    """Seconds of audio."""

    seconds_done: float
    seconds_total: float


@dataclass(frozen=True, slots=True)
class Diarization:
    """Who speaks when. `exclusive` has one speaker at a time, for words; speakers are named in order of appearance."""

    turns: tuple[Turn, ...]
    exclusive: tuple[Turn, ...]
    block_count: int
    voices: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    """Speaker -> embedding, (dimension,), where the pipeline gives any."""

    @property
    def speaker_count(self) -> int:
        """Number of people who speak."""
        return len({turn.speaker for turn in self.turns})


class Diarizer:
    """A loaded pipeline on its device."""

    def __init__(self, settings: EngineSettings, *, on_gpu: bool) -> None:
        """Load. Raises DiarizationError."""
        self.device = diarization_device(settings, on_gpu=on_gpu)
        """ "cuda:0" or "cpu"."""
        self._cores = settings.threads or torch.get_num_threads()  # of this thread it may be a job's share
        pipeline = load_pipeline(settings, torch.device(self.device))
        self.pipeline: Pipeline = accelerated(pipeline, cores=self._cores, half=settings.diarization_half)
        self._stream = OwnStream(torch.device(self.device), "speakers")
        self.beside = self.device != "cpu" and isinstance(self.pipeline, OnePassDiarization)
        """What else there is goes on meanwhile: the next block, and all other files of the job. On a CPU each core has
        its work already; pipelines of other people may not be for several threads."""
        self._relay = Relay()
        self._block_s, self._overlap_s = settings.diarization_block_s, settings.diarization_overlap_s
        self._most: tuple[int, int] | None = None
        """Batches for which there was memory, once there was none for others."""
        self._fit_batches()

    async def diarize(
        self, samples: npt.NDArray[np.int16], options: Options, *, emit: Callable[[DiarizationProgress], None]
    ) -> Diarization:
        """Find who speaks when in 16 kHz samples; options give the numbers of speakers. A batch for which there is no
        memory is halved, down to one chunk."""
        total_s = len(samples) / SAMPLE_RATE
        blocks = plan(total_s, block_s=self._block_s, overlap_s=self._overlap_s)
        limits = _limits(options, alone=len(blocks) == 1)
        begun: set[Block] = set()

        async def found_in(block: Block) -> BlockTurns:
            begun.add(block)
            found = await self._patiently(samples, block, limits, _share_of(block, total_s, emit))
            begun.remove(block)
            return found

        pieces = [partial(found_in, block) for block in blocks]
        found = await together(pieces, may_begin=lambda: self.beside and len(begun) < BLOCKS_AT_ONCE)
        return self._together(blocks, found, options)

    def _together(self, blocks: tuple[Block, ...], found: list[BlockTurns], options: Options) -> Diarization:
        if len(blocks) == 1:
            turns, exclusive, voices = found[0].turns, found[0].exclusive, found[0].voices
        else:
            lowest, highest = options.num_speakers or options.min_speakers, options.num_speakers or options.max_speakers
            turns, exclusive, voices = merged(
                blocks, found, threshold=self._threshold, lowest=lowest or 1, highest=highest or len(blocks) * 100
            )
        ordered = in_order_of_appearance(turns)
        names = names_by_appearance(turns)
        by_name = {names[speaker]: voice for speaker, voice in voices.items() if speaker in names}
        return Diarization(ordered, renamed_alike(exclusive, turns), len(blocks), by_name)

    async def voice(self, samples: npt.NDArray[np.int16]) -> npt.NDArray[Any] | None:
        """Embed what the one person of 16 kHz samples says, as a speaker of a recording is; (dimension,), or None where
        there is no speech, or too little."""
        seconds = len(samples) / SAMPLE_RATE
        found = await self._patiently(samples, Block(0.0, seconds, 0.0, seconds), {"num_speakers": 1}, _ignore)
        return next(iter(found.voices.values()), None)

    @cached_property
    def voice_model(self) -> str:
        """Name the embedding that makes the voices by 16 hex digits: voices of another cannot be compared with them."""
        return embedding_id(self.pipeline)

    @property
    def _threshold(self) -> float:
        clustering = getattr(self.pipeline, "clustering", None)
        threshold = getattr(clustering, "threshold", None)
        return float(threshold) if isinstance(threshold, float | int) else DEFAULT_THRESHOLD

    async def _patiently(
        self, samples: npt.NDArray[np.int16], block: Block, limits: dict[str, int], emit: Callable[[float], None]
    ) -> BlockTurns:
        while True:
            with self._relay.place() as place:
                await place.first
                batches, beside = self._fit_batches(), self.beside
                try:
                    return await self._block(samples, block, limits, place, emit)
                except (RuntimeError, MemoryError) as error:
                    if not self._may_try_again(error, batches, beside=beside):
                        raise
                    without_frames(error)  # which hold the tensors
            if self.device.startswith("cuda"):
                release_cached_memory()

    async def _block(
        self,
        samples: npt.NDArray[np.int16],
        block: Block,
        limits: dict[str, int],
        place: Place,
        emit: Callable[[float], None],
    ) -> BlockTurns:
        first, last = int(block.start * SAMPLE_RATE), round(block.end * SAMPLE_RATE)

        def work(hook: Hook) -> Found:
            with self._stream.entered(), place.handed_over(hook) if self.beside else nullcontext(hook) as reported:
                file = {"waveform": self._floats(samples[first:last]), "sample_rate": SAMPLE_RATE, "uri": "recording"}
                return self._apply(file, limits, reported)

        ordinary, exclusive, centroids = await in_thread(work, emit, beside=self.beside)
        return _block_turns(ordinary, exclusive, centroids, offset_s=first / SAMPLE_RATE)

    def _floats(self, samples: npt.NDArray[np.int16]) -> torch.Tensor:
        """(1, samples), on the GPU where there is ample room: both networks take each second in ten chunks, which would
        be copied and sent there one by one."""
        sound = torch.from_numpy(np.array(samples))[None]
        if self.beside and 4 * len(samples) < SOUND_SHARE * free_bytes(torch.device(self.device)):
            sound = sound.to(self.device)
        floats = sound.float().div_(32768)
        self._stream.settle()  # the other network has a stream of its own
        return floats

    def _apply(self, file: dict[str, Any], limits: dict[str, int], hook: Hook) -> Found:
        with_centroids = {} if hasattr(self.pipeline, "legacy") else {"return_embeddings": True}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy's about speakers too short to be embedded; the stage has its own
            return annotations(self.pipeline(file, hook=hook, **limits, **with_centroids))

    def _fit_batches(self) -> tuple[int, int]:
        """Choose batches by the memory that is free now: a model may have come or gone. While nobody else is at the
        networks: pyannote looks at its batch again and again."""
        sizes = batch_sizes(self.device, self._cores, free_bytes(torch.device(self.device)))
        segmentation, embedding = (min(pair) for pair in zip(sizes, self._most or sizes, strict=True))
        if hasattr(self.pipeline, "embedding_batch_size"):
            self.pipeline.segmentation_batch_size, self.pipeline.embedding_batch_size = segmentation, embedding
        return segmentation, embedding

    def _may_try_again(self, error: Exception, batches: tuple[int, int], *, beside: bool) -> bool:
        """Prepare another try of a block that failed with these batches: with half of them where memory was short, and
        one thing after the other where it is not known what went wrong `beside` others."""
        if beside and translate(error) is None:
            self._go_one_by_one(error)
            return True
        if not is_short_of_memory(error) or max(batches) <= 1:
            return False
        halves = max(1, batches[0] // 2), max(1, batches[1] // 2)
        self._most = halves if self._most is None else (min(halves[0], self._most[0]), min(halves[1], self._most[1]))
        log.warning("diarization_batches_halved", segmentation=self._most[0], embedding=self._most[1])
        return True

    def _go_one_by_one(self, error: Exception) -> None:
        self.beside = self.pipeline.looks_ahead = False
        log.warning("diarization_one_by_one", error=type(error).__name__, exc_info=error)


async def in_thread(work: Callable[[Hook], Result], emit: Callable[[float], None], *, beside: bool = False) -> Result:
    """Run pyannote's blocking call and tell the share that is done, 0 to 1, whenever pyannote reports it; `beside`:
    while other pieces go on.

    When the coroutine is closed, the call is left the next time that it reports, and waited for.
    """
    shares: queue.SimpleQueue[float] = queue.SimpleQueue()
    leave = threading.Event()

    def hook(step: str, *_: Any, completed: int = 0, total: int = 0, **__: Any) -> None:
        if leave.is_set():
            raise CancelledError
        if step in STAGE_SHARES and total:
            first, last = STAGE_SHARES[step]
            shares.put(first + (last - first) * min(1.0, completed / total))

    with ThreadPoolExecutor(1, thread_name_prefix="diarization") as executor:
        result = executor.submit(work, hook)
        try:
            while not result.done():
                with suppress(queue.Empty):
                    emit(shares.get(block=not beside, timeout=POLL_S))
                await (Condition(lambda: result.done() or not shares.empty()) if beside else checkpoint())
        finally:
            leave.set()
        return result.result()


def _share_of(block: Block, total_s: float, emit: Callable[[DiarizationProgress], None]) -> Callable[[float], None]:
    """Make a function that reports the share of a block that is done, 0 to 1, as progress through the recording."""
    length_s = block.keep_to - block.keep_from
    return lambda share: emit(DiarizationProgress(block.keep_from + share * length_s, total_s))


def _ignore(_share: float) -> None:
    """Tell nobody: a reference is short."""


def _limits(options: Options, *, alone: bool) -> dict[str, int]:
    """Make the pipeline's limits on the number of speakers. A block need not have all the people of the recording."""
    if alone:
        asked = {
            "num_speakers": options.num_speakers,
            "min_speakers": options.min_speakers,
            "max_speakers": options.max_speakers,
        }
    else:
        asked = {"max_speakers": options.num_speakers or options.max_speakers}
    return {name: number for name, number in asked.items() if number is not None}


def _block_turns(ordinary: Annotation, exclusive: Annotation | None, centroids: Any, *, offset_s: float) -> BlockTurns:
    speakers = tuple(str(label) for label in ordinary.labels())
    rows = np.zeros((len(speakers), 1)) if centroids is None else np.asarray(centroids)[: len(speakers)]
    turns = _turns(ordinary, offset_s)
    alone = turns if exclusive is None or not speakers else _turns(exclusive, offset_s)
    return BlockTurns(turns, alone, speakers, rows)


def _turns(annotation: Annotation, offset_s: float) -> tuple[Turn, ...]:
    tracks = annotation.itertracks(yield_label=True)
    return tuple(Turn(offset_s + segment.start, offset_s + segment.end, str(label)) for segment, _, label in tracks)
