"""pyannote's SpeakerDiarization, with the same result in a fraction of the time.

Stock pyannote runs its embedding network once for each speaker of each chunk, although the speaker's mask enters only
at the pooling at its end. Here all speakers of a chunk share one pass, and chunks in which nobody speaks have none.
On a GPU, voices of the first chunks are embedded while the next ones are segmented (ahead.py). It works with
pyannote.audio 3.1.1 and 4.0.7, and for several recordings at once, each in a thread of its own, of which one at a time
uses the networks.
"""

import hashlib
import math
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pyannote.audio import Pipeline
from pyannote.audio.pipelines import SpeakerDiarization
from pyannote.core import Annotation, SlidingWindow, SlidingWindowFeature

from btworker.engine.diarization.ahead import Ahead, Indices, batches
from btworker.engine.diarization.cores import Cores, SharedInference, on_all_cores
from btworker.engine.diarization.half import halve
from btworker.engine.stack.gpu_turns import OwnStream

Floats = npt.NDArray[np.float32]
PROBE_S = 3.0
PROBE_TOLERANCE = 1e-4


def accelerated(pipeline: Pipeline, *, cores: int = 1, half: bool = False) -> Pipeline:
    """Return the same pipeline, faster where it is of pyannote's own class and its embedding model allows it. On a CPU
    it uses so many cores; `half`: with the embedding's network in half precision on a GPU, where that changes
    nothing."""
    if type(pipeline) is SpeakerDiarization and pipeline.klustering != "OracleClustering":
        pipeline.__class__ = OnePassDiarization
        pipeline.looks_ahead = pipeline.device.type == "cuda"
        pipeline.cores = Cores(cores if pipeline.device.type == "cpu" else 1)
        on_all_cores(pipeline._segmentation, pipeline.cores)  # noqa: SLF001 - it has no public name, in either version
        if pipeline.device.type == "cpu":
            _lay_channels_last(pipeline)  # a CPU convolves such images about a tenth faster
        elif half:
            _suit_gpu(pipeline)
        pipeline.silent = silent_embedding(pipeline)
        pipeline.stream = OwnStream(pipeline.device, "voices")
    return pipeline


def _suit_gpu(pipeline: "OnePassDiarization") -> None:
    """Halve the embedding's network, and have images channels last: cuDNN turns others round for half precision."""
    pipeline.whole_id = embedding_id(pipeline)
    if halve(pipeline._embedding):  # noqa: SLF001 - it has no public name, in either version
        _lay_channels_last(pipeline)


def _lay_channels_last(pipeline: "OnePassDiarization") -> None:
    network = getattr(pipeline._embedding, "model_", None)  # noqa: SLF001 - it has no public name, in either version
    if isinstance(network, torch.nn.Module):
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch 2.2 does not type it


class OnePassDiarization(SpeakerDiarization):  # type: ignore[misc]  # pyannote carries no types
    """A stock pipeline becomes one by `accelerated`; nothing is loaded or configured again."""

    silent: Floats | None
    """Embedding of an empty mask, (dimension,); None where the model does not take the masks of several speakers."""
    cores: Cores
    """Of the CPU; one on a GPU."""
    stream: OwnStream
    """Of the GPU, for embeddings while others are segmented."""
    looks_ahead: bool
    """Chunks are embedded as soon as they are segmented."""
    calls = threading.local()
    """Of each thread: `ahead`, and `exclusive`, the exclusive turns of its last recording, where this version of
    pyannote does not give them itself."""

    @property
    def _is_version_3(self) -> bool:
        return hasattr(self, "_frames")

    def apply(self, file: dict[str, Any], **options: Any) -> Any:
        """Return the stock result; on a GPU, the embeddings are made ahead."""
        if not self._may_look_ahead:
            return super().apply(file, **options)
        ahead = Ahead(partial(self._embed_batch, file, self._chunks), self.embedding_batch_size)
        self.calls.ahead = ahead
        try:
            return super().apply(file, **options)
        finally:
            self.calls.ahead = None
            ahead.close()

    @property
    def _may_look_ahead(self) -> bool:
        """A chunk's masks are known by its segmentation alone."""
        inference = self._segmentation
        one_pass = self.silent is not None and type(inference) is SharedInference
        return self.looks_ahead and one_pass and bool(inference.model.specifications.powerset)

    @property
    def _chunks(self) -> SlidingWindow:
        """That of pyannote's Inference."""
        return SlidingWindow(start=0.0, duration=self._segmentation.duration, step=self._segmentation.step)

    def get_segmentations(self, file: dict[str, Any], hook: Callable[..., None] | None = None) -> SlidingWindowFeature:
        """(chunks, frames, speakers), as the stock method gives them."""
        ahead: Ahead | None = getattr(self.calls, "ahead", None)
        if ahead is None:
            return super().get_segmentations(file, hook)

        def take(found: Floats) -> None:
            segmentations = SlidingWindowFeature(found, self._chunks)
            ahead.add(self._masks(segmentations, exclude_overlap=self.embedding_exclude_overlap))

        self._segmentation.calls.take = take
        try:
            return super().get_segmentations(file, hook)
        finally:
            del self._segmentation.calls.take

    def get_embeddings(
        self,
        file: dict[str, Any],
        binary_segmentations: SlidingWindowFeature,
        exclude_overlap: bool = False,  # noqa: FBT001, FBT002 - pyannote's signature
        hook: Callable[..., None] | None = None,
    ) -> Floats:
        """(chunks, speakers, dimension), as the stock method gives them."""
        if self.silent is None:
            stock: Floats = super().get_embeddings(file, binary_segmentations, exclude_overlap, hook)
            return stock
        masks = self._masks(binary_segmentations, exclude_overlap=exclude_overlap)
        found = np.tile(self.silent, (*masks.shape[::2], 1))
        total, done = max(1, int(masks.any(axis=(1, 2)).sum())), 0
        report = hook or (lambda *_, **__: None)
        report("embeddings", None, total=total, completed=0)
        for batch, embeddings in self._batches(file, binary_segmentations.sliding_window, masks):
            found[batch] = embeddings
            done += len(batch)
            report("embeddings", None, total=total, completed=done)
        return found

    def _batches(self, file: dict[str, Any], chunks: SlidingWindow, masks: Floats) -> Iterator[tuple[Indices, Floats]]:
        """Yield indices of chunks in which somebody speaks, and their embeddings: those made ahead, where there are."""
        ahead: Ahead | None = getattr(self.calls, "ahead", None)
        if ahead is not None and ahead.chunks == len(masks):
            yield from ahead.results()
            return
        for batch, used in batches(masks, self.embedding_batch_size):
            yield batch, self._embed_batch(file, chunks, batch, used)

    def _embed_batch(self, file: dict[str, Any], chunks: SlidingWindow, batch: Indices, masks: Floats) -> Floats:
        """(batch, frames, speakers) to (batch, speakers, dimension)."""
        with self.stream.entered():  # where sound of a GPU is cut, too: the stream would not wait for another's chunks
            waveforms = torch.stack([self._chunk(file, chunks, index) for index in batch])
            return self._embed(waveforms, torch.from_numpy(masks.transpose(0, 2, 1)))

    def _embed(self, waveforms: torch.Tensor, masks: torch.Tensor) -> Floats:
        """(batch, 1, samples) and (batch, speakers, frames) to (batch, speakers, dimension)."""
        return self.cores.share(partial(_embed, self._embedding), waveforms, masks)

    def reconstruct(
        self, segmentations: SlidingWindowFeature, hard_clusters: npt.NDArray[Any], count: SlidingWindowFeature
    ) -> SlidingWindowFeature:
        """Return the stock result; keep, on the side, the turns of the one who speaks most clearly at each moment."""
        discrete = super().reconstruct(segmentations, hard_clusters, count)
        if self._is_version_3:
            alone = SlidingWindowFeature(np.minimum(count.data, 1), count.sliding_window)
            self.calls.exclusive = self._labeled(super().reconstruct(segmentations, hard_clusters, alone), discrete)
        return discrete

    def _labeled(self, exclusive: SlidingWindowFeature, discrete: SlidingWindowFeature) -> Annotation:
        """Exclusive turns under the labels that `apply` gives to the ordinary ones."""
        gap_s = self.segmentation.min_duration_off
        ordinary = self.to_annotation(discrete, min_duration_on=0.0, min_duration_off=gap_s)
        names = dict(zip(ordinary.labels(), self.classes(), strict=False))
        turns: Annotation = self.to_annotation(exclusive, min_duration_on=0.0, min_duration_off=gap_s)
        return turns.rename_labels(mapping=names)

    def _masks(self, segmentations: SlidingWindowFeature, *, exclude_overlap: bool) -> Floats:
        """Make masks (chunks, frames, speakers), 1 where a speaker speaks, without overlaps where enough is left."""
        masks: Floats = np.nan_to_num(segmentations.data, nan=0.0).astype(np.float32)
        if not exclude_overlap:
            return masks
        samples = segmentations.sliding_window.duration * self._embedding.sample_rate
        least = math.ceil(masks.shape[1] * self._embedding.min_num_samples / samples)
        alone = np.sum(segmentations.data, axis=2, keepdims=True) < 2
        clean = np.where(alone, masks, np.float32(0))
        used: Floats = np.where(clean.sum(axis=1, keepdims=True) > least, clean, masks)
        return used

    def _chunk(self, file: dict[str, Any], chunks: SlidingWindow, index: int) -> torch.Tensor:
        """(1, samples) of one chunk, cut as the stock method cuts it."""
        options = {"duration": chunks.duration} if self._is_version_3 else {}  # a chunk's own may be rounded
        waveform: torch.Tensor = self._audio.crop(file, chunks[index], mode="pad", **options)[0]
        return waveform


def silent_embedding(pipeline: SpeakerDiarization) -> Floats | None:
    """Try the model out on noise: None unless several masks at once give what they give one by one, and an empty mask
    the same whatever the sound is."""
    embedding = pipeline._embedding  # noqa: SLF001 - it has no public name, in either version
    generator = torch.Generator().manual_seed(0)
    waveforms = 0.1 * torch.randn(2, 1, int(PROBE_S * embedding.sample_rate), generator=generator)
    masks = torch.zeros(2, 3, 100)
    masks[:, 0, :60], masks[:, 1, 40:] = 1, 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            together = _embed(embedding, waveforms, masks)
            apart = np.stack([_embed(embedding, waveforms, masks[:, speaker]) for speaker in range(3)], axis=1)
    except (AttributeError, AssertionError, IndexError, RuntimeError, TypeError, ValueError):
        return None  # an embedding of another library, or a model that takes one mask only
    if together.shape != apart.shape or not np.allclose(together, apart, rtol=PROBE_TOLERANCE, atol=PROBE_TOLERANCE):
        return None
    if not np.array_equal(apart[0, 2], apart[1, 2]):
        return None
    silent: Floats = apart[0, 2]
    return silent


def embedding_id(pipeline: Pipeline) -> str:
    """Name the embedding of a pipeline by its weights, as they were loaded, in 16 hex digits; by its class and size
    where it shows none."""
    if known := getattr(pipeline, "whole_id", ""):
        return str(known)
    embedding = getattr(pipeline, "_embedding", None)
    digest = hashlib.sha256(f"{type(embedding).__name__} {getattr(embedding, 'dimension', 0)}".encode())
    network = getattr(embedding, "model_", None)
    if isinstance(network, torch.nn.Module):
        for name, value in sorted(network.state_dict().items()):
            digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _embed(embedding: Any, waveforms: torch.Tensor, masks: torch.Tensor) -> Floats:
    found: Floats = embedding(waveforms, masks=masks)
    return found


def annotations(output: Any) -> tuple[Annotation, Annotation | None, npt.NDArray[Any] | None]:
    """(turns, exclusive turns, centroids by label) of what a pipeline returned in this thread, in either version."""
    if hasattr(output, "speaker_diarization"):
        return output.speaker_diarization, output.exclusive_speaker_diarization, output.speaker_embeddings
    turns, centroids = output if isinstance(output, tuple) else (output, None)
    return turns, getattr(OnePassDiarization.calls, "exclusive", None), centroids
