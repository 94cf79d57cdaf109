"""What is at work at once on a GPU, on the CPU: voices beside segmentations, a block beside the clusters of the one
before, speakers beside the words of the next file. Always with the very turns of one after the other, and nothing is
left where it fails or is canceled."""

import gc
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pyannote.audio.core.io import Audio
from pyannote.core import SlidingWindow
from torch._subclasses.fake_tensor import FakeTensorMode

from btworker.engine.diarization import diarizer as module
from btworker.engine.diarization.diarizer import Diarization, Diarizer
from btworker.engine.engine import WhisperEngine
from btworker.engine.job import attempt
from btworker.engine.job.attempt import DIARIZING_AT_ONCE
from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import Stage
from btworker.messages import FileDone, Finished, JobEvent, Progressed, WindowDone
from tests.speech.diarization.cases import (
    DIALOGUES,
    NO_SPEAKERS,
    OPTIONS,
    first_sentences,
    settings,
    transcript_of,
    warnings_of,
)
from tests.speech.fake_cuda import has_fake_cuda
from tests.speech.jobs import run, task_for
from tests.waiting import until
from tools.demo_diarization.heldout import Dialogue
from tools.demo_diarization.measure import diarize, pcm

pytestmark = [pytest.mark.speech, pytest.mark.timeout(600)]

DEADLINE_S = 60.0
OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 20.00 GiB"


@pytest.fixture(scope="module")
def expected(diarizer: Diarizer, dialogue: Dialogue) -> Diarization:
    """What one after the other gives."""
    return diarize(diarizer, dialogue.samples)


@pytest.fixture(scope="module")
def loaded_beside() -> Diarizer:
    """The embedded pipeline, at work as on a GPU."""
    diarizer = Diarizer(settings(Path("unused")), on_gpu=False)
    diarizer.beside = diarizer.pipeline.looks_ahead = True
    return diarizer


@pytest.fixture
def beside(loaded_beside: Diarizer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Diarizer]:
    """The same, safe to patch; nobody is left in its line, at its clusters or in a thread of it."""
    monkeypatch.setattr(loaded_beside, "_most", None)
    monkeypatch.setattr(loaded_beside, "beside", True)
    loaded_beside.pipeline.looks_ahead = True
    yield loaded_beside
    assert loaded_beside._relay._waiting == []
    assert not loaded_beside._relay._clusters.locked()
    assert [one.name for one in threading.enumerate() if one.name.startswith(("voices", "diarization"))] == []


def assert_same(found: Diarization, wanted: Diarization) -> None:
    """To the last bit."""
    assert (found.turns, found.exclusive, found.block_count) == (wanted.turns, wanted.exclusive, wanted.block_count)
    assert found.voices.keys() == wanted.voices.keys()
    for speaker, voice in wanted.voices.items():
        np.testing.assert_array_equal(found.voices[speaker], voice)


def wait(event: threading.Event) -> None:
    """Until somebody else has got so far."""
    assert event.wait(DEADLINE_S), "it never came"


def test_voices_are_embedded_while_the_next_chunks_are_segmented(
    beside: Diarizer, dialogue: Dialogue, expected: Diarization, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last batch of the segmentation waits until the first embedding is there."""
    infer, embed, embedded = beside.pipeline._segmentation.infer, beside.pipeline._embed, threading.Event()
    batches: list[int] = []

    def gated(chunks: torch.Tensor) -> Any:
        batches.append(len(chunks))
        if len(batches) > 3:
            wait(embedded)
        return infer(chunks)

    def heard(waveforms: torch.Tensor, masks: torch.Tensor) -> Any:
        found = embed(waveforms, masks)
        embedded.set()
        return found

    monkeypatch.setattr(beside.pipeline._segmentation, "infer", gated)
    monkeypatch.setattr(beside.pipeline, "_embed", heard)
    assert_same(diarize(beside, dialogue.samples), expected)
    assert len(batches) > 4


def test_nobody_speaks(beside: Diarizer) -> None:
    """Nothing is embedded, and there are no turns."""
    assert diarize(beside, np.zeros(16_000 * 20, np.float32)).turns == ()


@pytest.mark.parametrize("step", ["_embed", "_chunk"])
def test_memory_that_is_short_in_the_other_thread(
    beside: Diarizer, dialogue: Dialogue, expected: Diarization, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Ends the segmentation, too; the block is taken again by half as many."""
    monkeypatch.setattr(beside, "_cores", 4)
    original, sizes = getattr(beside.pipeline, step), []

    def failing(*args: Any) -> Any:
        sizes.append(beside.pipeline.embedding_batch_size)
        if sizes[-1] > 1:
            raise torch.cuda.OutOfMemoryError(OUT_OF_MEMORY)
        return original(*args)

    monkeypatch.setattr(beside.pipeline, step, failing)
    found = diarize(beside, dialogue.samples)
    assert sorted(set(sizes), reverse=True) == [4, 2, 1]
    assert beside.beside
    assert len(found.turns) == len(expected.turns)  # other batches round otherwise


@pytest.mark.parametrize("step", ["get_segmentations", "get_embeddings", "reconstruct"])
def test_what_nobody_knows_goes_wrong_once(
    beside: Diarizer, dialogue: Dialogue, expected: Diarization, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Then it is one thing after the other, for good, with the same turns; a second time it is an error."""
    original, at_work = getattr(beside.pipeline, step), []

    def failing(*args: Any, **named: Any) -> Any:
        at_work.append(beside.beside)
        if at_work[-1]:
            raise RuntimeError("an internal assertion")
        return original(*args, **named)

    monkeypatch.setattr(beside.pipeline, step, failing)
    assert_same(diarize(beside, dialogue.samples), expected)
    assert at_work[:2] == [True, False]
    assert not beside.pipeline.looks_ahead
    monkeypatch.setattr(beside.pipeline, step, _raise)
    with pytest.raises(RuntimeError, match="again"):
        diarize(beside, dialogue.samples)


def test_two_that_fail_at_once_both_go_on(
    beside: Diarizer, diarizer: Diarizer, dialogue: Dialogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first at its clusters, once the second is at the networks; that one, when the first has made an end of it."""
    segment, reconstruct, second = beside.pipeline.get_segmentations, beside.pipeline.reconstruct, threading.Event()
    calls: list[None] = []

    def failing_networks(*args: Any, **named: Any) -> Any:
        calls.append(None)
        if len(calls) == 2:
            second.set()
            until(lambda: not beside.beside, within_s=DEADLINE_S)
            raise RuntimeError("an internal assertion")
        return segment(*args, **named)

    def failing_clusters(*args: Any) -> Any:
        if beside.beside:
            wait(second)
            raise RuntimeError("an internal assertion")
        return reconstruct(*args)

    monkeypatch.setattr(beside.pipeline, "get_segmentations", failing_networks)
    monkeypatch.setattr(beside.pipeline, "reconstruct", failing_clusters)
    part = dialogue.samples[: 16_000 * 30]
    found: list[Diarization] = []
    threads = [threading.Thread(target=lambda: found.append(diarize(beside, part))) for _ in range(2)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert len(calls) == 4
    for one_of_them in found:
        assert_same(one_of_them, diarize(diarizer, part))
    assert len(found) == 2


def _raise(*_: Any, **__: Any) -> Any:
    raise RuntimeError("again")


def test_a_block_begins_while_the_one_before_is_clustered(
    beside: Diarizer, diarizer: Diarizer, dialogue: Dialogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first clusters wait for the second block's networks, the second one's for the third's. There is one block at
    each of both, and no more than two are begun."""
    for one in (beside, diarizer):
        monkeypatch.setattr(one, "_block_s", 40.0)
        monkeypatch.setattr(one, "_overlap_s", 10.0)
    wanted = diarize(diarizer, dialogue.samples)
    kind, networks = type(beside.pipeline.clustering), beside.pipeline.get_segmentations
    clustering = kind.__call__
    begun = [threading.Event() for _ in range(wanted.block_count)]
    inside: dict[str, int] = {"networks": 0, "clusters": 0, "blocks": 0}
    most = dict(inside)
    numbers, clustered = iter(range(wanted.block_count)), iter(range(1, wanted.block_count))
    apply = beside._apply

    def enter(where: str) -> None:
        inside[where] += 1
        most[where] = max(most[where], inside[where])

    def counted_networks(*args: Any, **named: Any) -> Any:
        enter("networks")
        begun[next(numbers)].set()
        return networks(*args, **named)

    def counted_clusters(*args: Any, **named: Any) -> Any:
        inside["networks"] -= 1
        enter("clusters")
        if (following := next(clustered, None)) is not None:
            wait(begun[following])
        found = clustering(*args, **named)
        inside["clusters"] -= 1
        return found

    def counted_blocks(*args: Any) -> Any:
        enter("blocks")
        try:
            return apply(*args)
        finally:
            inside["blocks"] -= 1

    monkeypatch.setattr(beside.pipeline, "get_segmentations", counted_networks)
    monkeypatch.setattr(kind, "__call__", counted_clusters)
    monkeypatch.setattr(beside, "_apply", counted_blocks)
    found = diarize(beside, dialogue.samples)
    assert wanted.block_count >= 3
    assert_same(found, wanted)
    assert most["clusters"] == 1
    assert most["blocks"] == 2


def test_recordings_of_two_jobs_share_it(beside: Diarizer, diarizer: Diarizer, dialogue: Dialogue) -> None:
    """Both at once, with the turns of each alone."""
    parts = [dialogue.samples[: 16_000 * 40], dialogue.samples[16_000 * 40 :]]
    found: dict[int, Diarization] = {}
    threads = [
        threading.Thread(target=lambda number=number: found.update({number: diarize(beside, parts[number])}))
        for number in range(2)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    for number, part in enumerate(parts):
        assert_same(found[number], diarize(diarizer, part))


@pytest.mark.parametrize("after", ["segmentation", "embeddings"])
def test_a_closed_one_leaves_nothing(
    beside: Diarizer, dialogue: Dialogue, expected: Diarization, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    """In the middle of either network, with another one in line, which has its turns all the same."""
    reached = threading.Event()
    apply = beside._apply

    def watched(file: Any, limits: Any, hook: Callable[..., None]) -> Any:
        def heard(step: str, *args: Any, **named: Any) -> None:
            if step == after and named.get("completed"):
                reached.set()
            hook(step, *args, **named)

        return apply(file, limits, heard)

    monkeypatch.setattr(beside, "_apply", watched)
    samples = pcm(dialogue.samples)
    closed = beside.diarize(samples, OPTIONS, emit=lambda _: None)
    closed.send(None)
    following = beside.diarize(samples, OPTIONS, emit=lambda _: None)
    following.send(None)
    assert len(beside._relay._waiting) == 2
    wait(reached)
    closed.close()
    assert len(beside._relay._waiting) == 1
    following.close()
    assert_same(diarize(beside, dialogue.samples), expected)


@pytest.mark.parametrize("kind", [RuntimeError, MemoryError])
def test_memory_is_given_back_once_nothing_holds_it(
    beside: Diarizer, dialogue: Dialogue, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    """Not while the error of the block that failed still has the frames with its tensors, nor the error before it."""
    held: list[weakref.ref[Any]] = []
    given_back: list[bool] = []
    apply = beside._apply

    def failing(*args: Any) -> Any:
        if held:
            return apply(*args)
        tensor = torch.zeros(8)
        held.append(weakref.ref(tensor))
        try:
            raise torch.cuda.OutOfMemoryError(OUT_OF_MEMORY)
        except RuntimeError:
            raise kind(OUT_OF_MEMORY)  # noqa: B904 - as pyannote does

    monkeypatch.setattr(beside, "_apply", failing)
    monkeypatch.setattr(beside, "device", "cuda:0")
    monkeypatch.setattr(module, "free_bytes", lambda _: 2**30)
    monkeypatch.setattr(module, "SOUND_SHARE", 0.0)
    monkeypatch.setattr(module, "release_cached_memory", lambda: given_back.append(held[0]() is None))
    gc.disable()
    try:
        assert diarize(beside, dialogue.samples).turns
    finally:
        gc.enable()
    assert given_back == [True]


class Entries:
    """An OwnStream that numbers how often it was entered."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self._now = threading.local()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """See OwnStream."""
        self._now.number = next(self._numbers)
        yield
        self._now.number = None

    @property
    def number(self) -> int | None:
        """Of the time that the calling thread is in it; None: it works on another stream."""
        return getattr(self._now, "number", None)


@pytest.mark.parametrize("ahead", [False, True])
def test_chunks_are_cut_on_the_stream_that_embeds_them(
    beside: Diarizer, dialogue: Dialogue, expected: Diarization, monkeypatch: pytest.MonkeyPatch, ahead: bool
) -> None:
    """In the same block: no stream waits for what is queued on another one, so that a voice would be made of memory
    into which nobody has put the sound yet."""
    cut, embed, entries = beside.pipeline._chunk, beside.pipeline._embed, Entries()
    cut_in: list[int | None] = []
    embedded_in: list[int | None] = []

    def counted_cut(*args: Any) -> Any:
        cut_in.append(entries.number)
        return cut(*args)

    def counted_embed(waveforms: torch.Tensor, masks: torch.Tensor) -> Any:
        embedded_in.extend([entries.number] * len(waveforms))
        return embed(waveforms, masks)

    monkeypatch.setattr(beside.pipeline, "_chunk", counted_cut)
    monkeypatch.setattr(beside.pipeline, "_embed", counted_embed)
    monkeypatch.setattr(beside.pipeline, "stream", entries)
    beside.pipeline.looks_ahead = ahead
    assert_same(diarize(beside, dialogue.samples), expected)
    assert len(cut_in) > 20
    assert None not in cut_in
    assert cut_in == embedded_in


@has_fake_cuda
def test_sound_that_is_on_a_gpu_is_cut_there(beside: Diarizer) -> None:
    """For both networks: nothing sends a chunk."""
    chunks = SlidingWindow(start=0.0, duration=5.0, step=0.5)
    with FakeTensorMode(allow_non_fake_inputs=True):
        sound = torch.zeros(1, 16_000 * 30, dtype=torch.int16, device="cuda").float().div_(32768)
        file = Audio.validate_file({"waveform": sound, "sample_rate": 16_000, "uri": "recording"})
        cut = torch.stack([beside.pipeline._chunk(file, chunks, index) for index in (0, 20, 59)])
        slid, rate = beside.pipeline._segmentation.model.audio(file)
    assert (cut.device.type, cut.shape) == ("cuda", (3, 1, 80_000))
    assert (slid.device.type, rate) == ("cuda", 16_000)


@pytest.fixture
def engine_beside(engine: WhisperEngine, monkeypatch: pytest.MonkeyPatch) -> WhisperEngine:
    """An engine whose speakers are told apart as on a GPU."""
    diarizer = engine.equipment.speakers.load()
    monkeypatch.setattr(diarizer, "beside", True)
    monkeypatch.setattr(diarizer.pipeline, "looks_ahead", True)
    return engine


def words_of(event: JobEvent, index: int) -> bool:
    """Whether text of an input has come."""
    return isinstance(event, WindowDone) and event.file_index == index


@pytest.mark.sliced("speakers", 2)
def test_the_next_file_is_decoded_meanwhile(
    engine_beside: WhisperEngine, engine: WhisperEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first file's networks wait for the words of the second, which are those of one after the other, as all
    speakers are."""
    diarizer = engine_beside.equipment.speakers.load()
    sources = [first_sentences(tmp_path), DIALOGUES[0], DIALOGUES[1]]
    seen, came, apply = [], threading.Event(), diarizer._apply

    def gated(*args: Any) -> Any:
        wait(came)
        return apply(*args)

    monkeypatch.setattr(diarizer, "_apply", gated)
    for event in engine_beside.run(task_for(tmp_path / "beside", *sources, options=OPTIONS), lambda: False):
        seen.append(event)
        if words_of(event, 1):
            came.set()
    monkeypatch.undo()
    alone = run(engine, task_for(tmp_path / "alone", *sources, options=OPTIONS))
    assert isinstance(seen[-1], Finished)
    assert isinstance(alone[-1], Finished)
    assert warnings_of(seen) == warnings_of(alone)
    for number in range(len(sources)):
        found, wanted = (transcript_of(tmp_path / name, number) for name in ("beside", "alone"))
        assert found.turns == wanted.turns
        assert [(one.text, one.speaker) for one in found.segments] == [
            (one.text, one.speaker) for one in wanted.segments
        ]
    assert not (tmp_path / "beside" / "diarizing").exists()


def test_a_job_that_waits_for_anothers_speakers_decodes_its_other_files(engine: WhisperEngine, tmp_path: Path) -> None:
    """On a CPU, too: the networks are another job's until the second file has words."""
    seen: list[JobEvent] = []
    task = task_for(tmp_path / "job", first_sentences(tmp_path), DIALOGUES[0], options=OPTIONS)
    with engine.equipment.speakers.load()._relay.place() as others:
        for event in engine.run(task, lambda: False):
            seen.append(event)
            if words_of(event, 1) and any(isinstance(one, Progressed) and one.stage is Stage.DIARIZING for one in seen):
                others.leave()
    assert isinstance(seen[-1], Finished)
    assert not any(NO_SPEAKERS in said for said in warnings_of(seen))


def test_few_files_wait_for_speakers(
    engine_beside: WhisperEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are, and however long the first one's take: no other one begins meanwhile."""
    diarizer = engine_beside.equipment.speakers.load()
    sources = [first_sentences(tmp_path)] * (DIARIZING_AT_ONCE + 3)
    texts, free, at_once, apply = set(), threading.Event(), [], diarizer._apply

    def gated(*args: Any) -> Any:
        wait(free)
        return apply(*args)

    monkeypatch.setattr(diarizer, "_apply", gated)
    monkeypatch.setattr(attempt, "fill_batches", lambda left_s, _shared: len(left_s) >= 1)
    done = 0
    for event in engine_beside.run(task_for(tmp_path / "job", *sources, options=OPTIONS), lambda: False):
        done += isinstance(event, FileDone)
        if isinstance(event, Progressed) and event.stage is Stage.DIARIZING:
            texts.add(event.file_index)
        at_once.append(len(texts) - done)
        if at_once[-1] >= DIARIZING_AT_ONCE:
            free.set()
    assert max(at_once) == DIARIZING_AT_ONCE
    assert done == len(sources)


def test_a_cancel_meanwhile(engine_beside: WhisperEngine, tmp_path: Path) -> None:
    """While one file has its words decoded and another one its speakers told apart: nothing is left, and the engine
    takes the next job."""
    seen: list[JobEvent] = []

    def canceled() -> bool:
        both = any(isinstance(one, Progressed) and one.stage is Stage.DIARIZING for one in seen)
        return both and any(words_of(one, 1) for one in seen)

    steps = engine_beside.run(task_for(tmp_path / "job", DIALOGUES[0], DIALOGUES[1], options=OPTIONS), canceled)
    with pytest.raises(BtworkerError) as caught:
        deque(map(seen.append, steps), maxlen=0)
    assert caught.value.code is ErrorCode.CANCELED
    assert not any(isinstance(event, FileDone) for event in seen)
    assert {path.name for path in (tmp_path / "job").iterdir()} == {"in", "windows"}
    assert engine_beside.equipment.speakers.load()._relay._waiting == []
    following = task_for(tmp_path / "next", first_sentences(tmp_path), options=OPTIONS)
    assert isinstance(run(engine_beside, following)[-1], Finished)
