"""The network of voices in half precision: on a CPU in bfloat16, which rounds eight times as coarsely as a GPU's."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pyannote.audio.models.embedding import WeSpeakerResNet34
from pyannote.audio.pipelines.speaker_verification import PretrainedSpeakerEmbedding
from structlog.testing import capture_logs

from btworker.engine.campplus import CamPlusPlus
from btworker.engine.diarization.half import MOST_APART, halve
from btworker.engine.diarization.pipeline import OnePassDiarization, accelerated, embedding_id, silent_embedding
from btworker.engine.stack.gpu_turns import OwnStream
from btworker.engine.tiny_embedding import TinyEmbedding
from tests.speech.diarization.cases import with_statistics
from tools.demo_diarization.heldout import Dialogue
from tools.demo_diarization.measure import Case, diarize, diarizer_of, error_rate
from tools.demo_diarization.specifications import of_embedding

pytestmark = [pytest.mark.speech, pytest.mark.timeout(120)]
DEMO = Path("btworker/demo/diarization")
MASKS = torch.ones(2, 3, 100)


def embedding_of(kind: Any) -> Any:
    """Pyannote's embedding around a network of random weights whose norms have statistics."""
    torch.manual_seed(0)
    network = kind()
    network.specifications = of_embedding(10.0)
    with_statistics(network)
    return PretrainedSpeakerEmbedding(network.eval())


def sound() -> torch.Tensor:
    """Two chunks of 3 s."""
    return 0.1 * torch.randn(2, 1, 48_000, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", [WeSpeakerResNet34, CamPlusPlus, TinyEmbedding])
def test_voices_are_the_same(kind: Any) -> None:
    """Of pyannote's network, of CAM++ and of the embedded one: its convolutions are halved, its norms are not, and one
    pass still does for all speakers of a chunk."""
    embedding = embedding_of(kind)
    wanted = embedding(sound(), masks=MASKS)
    assert halve(embedding, torch.bfloat16)
    found = embedding(sound(), masks=MASKS)
    kinds = {one.running_mean.dtype for one in embedding.model_.modules() if hasattr(one, "running_mean")}
    halved = [one for one in embedding.model_.parameters() if one.dtype is torch.bfloat16]
    assert found.dtype == np.float32 and not np.array_equal(found, wanted)
    cosine = (found * wanted).sum(-1) / np.linalg.norm(found, axis=-1) / np.linalg.norm(wanted, axis=-1)
    assert cosine.min() >= 1 - 2 * MOST_APART
    assert len(halved) >= 4 and kinds == {torch.float32}
    assert silent_embedding(SimpleNamespace(_embedding=embedding)) is not None


def test_a_network_that_half_precision_changes_stays_as_it_is() -> None:
    """To the last bit, with a line in the log: numbers that are too large, or a device that cannot."""
    embedding = embedding_of(TinyEmbedding)
    with torch.no_grad():
        embedding.model_.layers[0][1].weight.fill_(1e6)
    wanted = embedding(sound(), masks=MASKS)
    with capture_logs() as logged:
        assert not halve(embedding, torch.float16)
    assert [line["event"] for line in logged] == ["diarization_single_precision"] and logged[0]["reason"]
    assert np.array_equal(embedding(sound(), masks=MASKS), wanted, equal_nan=True)
    assert {one.dtype for one in embedding.model_.parameters()} == {torch.float32}
    assert not halve(SimpleNamespace(model_=torch.nn.Linear(2, 2))) and not halve(SimpleNamespace())


@pytest.mark.full
def test_turns_are_the_same(dialogue: Dialogue) -> None:
    """Of two people, to a tenth of a percent; the voices keep their name, by which stored ones are compared."""
    whole = diarizer_of(DEMO)
    wanted = diarize(whole, dialogue.samples)
    name = embedding_id(whole.pipeline)
    halved = diarizer_of(DEMO)
    halved.pipeline.whole_id = embedding_id(halved.pipeline)
    assert halve(halved.pipeline._embedding, torch.bfloat16)
    found = diarize(halved, dialogue.samples)
    assert halved.voice_model == name
    assert found.speaker_count == wanted.speaker_count
    rates = [error_rate([Case(dialogue, one)])[0] for one in (found, wanted)]
    assert abs(rates[0] - rates[1]) <= 0.001
    assert found.voices.keys() == wanted.voices.keys()


def test_it_is_done_on_a_gpu_where_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """And on no CPU. What is halved has its images channels last, as cuDNN wants them then."""
    pipeline = diarizer_of(DEMO).pipeline
    pipeline._embedding = embedding_of(CamPlusPlus)
    images = [one for one in pipeline._embedding.model_.modules() if isinstance(one, torch.nn.Conv2d)]
    halved: list[Any] = []
    monkeypatch.setattr(
        "btworker.engine.diarization.pipeline.OwnStream", lambda *_: OwnStream(torch.device("cpu"), "voices")
    )
    monkeypatch.setattr("btworker.engine.diarization.pipeline.halve", lambda one: halved.append(one) or len(halved) > 1)
    for half, count, is_last in ((False, 0, False), (True, 1, False), (True, 2, True)):
        pipeline.__class__ = OnePassDiarization.__mro__[1]
        pipeline.device = torch.device("cuda")
        try:
            accelerated(pipeline, half=half)
        finally:
            pipeline.device = torch.device("cpu")
        assert len(halved) == count
        assert all(one.weight.is_contiguous(memory_format=torch.channels_last) for one in images) is is_last
    pipeline.__class__ = OnePassDiarization.__mro__[1]
    accelerated(pipeline, half=True)
    assert len(halved) == 2
