"""The second look at doubtful segments: what was spoken comes out again where its sound is decoded by itself, and
nothing else does."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from btworker.engine.asr.recognition import transcriber_of
from btworker.engine.asr.second_look import ROOM_S, SecondLook, stretches_of
from btworker.engine.asr.timeline import FRAMES_PER_SECOND, WINDOW_FRAMES
from btworker.engine.asr.weights import Model, load_model
from btworker.engine.cooperate.result import result_of
from btworker.engine.cooperate.side_by_side import side_by_side
from btworker.engine.quality.second_look import CONFIRMED
from btworker.engine.sound.ffmpeg import Audio
from btworker.engine.sound.recording import Samples
from btworker.ffmpeg import SAMPLE_RATE
from btworker.jobs import Options
from btworker.specs import EngineSettings
from btworker.transcript import Segment
from tests.speech.oracle import ours

pytestmark = pytest.mark.speech

CHECKPOINT = Path("btworker/demo/whisper-tiny-words.pt")
RECORDING = Path("tests/data/heldout/18.opus")
SECONDS = 25
OPTIONS = {"fast": Options(model="demo", decode="fast"), "exact": Options(model="demo", decode="exact")}


@pytest.fixture(scope="module")
def demo_model() -> Model:
    """In batches of four, so that there is more than one batch."""
    settings = EngineSettings(
        "demo", (("demo", CHECKPOINT),), Path("unused"), Path("unused"), offline=True, batch_size=4
    )
    return load_model("demo", settings, torch.device("cpu"))


def shares(model: Model, samples: Samples, doubtful: Sequence[Segment]) -> list[float]:
    """What comes out again of each."""
    look = SecondLook(model, samples, partial(transcriber_of, model, OPTIONS["fast"], ""))
    pieces = [partial(look.shares, doubtful, "en")]
    (found,) = result_of(side_by_side(pieces, driver=model.decoder, may_begin=lambda: True))

    assert len(found) == len(doubtful)
    return found


@pytest.mark.parametrize("mode", ["fast", "exact"])
def test_what_was_spoken_comes_out_again_and_nothing_else(
    mode: str, demo_model: Model, decoded: Callable[..., Audio], tmp_path: Path
) -> None:
    """Of segments of a recording nearly all; of the same texts at other places, in other segments' time or where
    nobody speaks, next to none."""
    samples = decoded(RECORDING).samples[: SECONDS * SAMPLE_RATE]
    segments = ours(demo_model, samples, OPTIONS[mode], tmp_path / "windows.jsonl").segments
    assert len(segments) > 3
    there = shares(demo_model, samples, segments)
    assert sum(one >= CONFIRMED for one in there) >= 0.8 * len(segments)
    others = [replace(one, text=other.text) for one, other in zip(segments, reversed(segments), strict=True)]
    elsewhere = [one for one, same in zip(others, segments, strict=True) if one.text != same.text]
    assert sum(one >= CONFIRMED for one in shares(demo_model, samples, elsewhere)) <= 0.2 * len(elsewhere)
    silent = np.concatenate([samples, np.zeros(SECONDS * SAMPLE_RATE, np.int16)])
    later = [replace(one, start=one.start + SECONDS, end=one.end + SECONDS) for one in segments]
    assert not any(one >= CONFIRMED for one in shares(demo_model, silent, later))


def test_a_second_look_changes_no_text(demo_model: Model, decoded: Callable[..., Audio], tmp_path: Path) -> None:
    """Noise after a recording gives doubtful text in exact mode; but for what is said of it, the segments are those
    without a second look."""
    sound = np.random.default_rng(7).standard_normal(20 * SAMPLE_RATE) * 3000
    samples = np.concatenate([decoded(RECORDING).samples[: 20 * SAMPLE_RATE], sound.astype(np.int16)])
    plain = replace(OPTIONS["exact"], hallucination_detection=False)
    looked = ours(demo_model, samples, OPTIONS["exact"], tmp_path / "1.jsonl").segments
    without = ours(demo_model, samples, plain, tmp_path / "2.jsonl").segments
    assert tuple(replace(one, hallucination=None) for one in looked) == without
    reasons = [reason for one in looked if one.hallucination for reason in one.hallucination.reasons]
    assert "another_text" in reasons


@given(
    places=st.lists(st.tuples(st.floats(0, 90), st.floats(0, 40), st.sampled_from(("", "en", "fr"))), max_size=8),
    end=st.integers(1, 9000),
)
def test_stretches_hold_their_segments(places: list[tuple[float, float, str]], end: int) -> None:
    """Each segment once, in order, with room around it, those that meet together; a window each, of one language."""
    segments = [
        Segment(n, 0, start, start + length_s, "a", language=language)
        for n, (start, length_s, language) in enumerate(sorted(places))
    ]
    stretches = list(stretches_of(segments, end))
    assert [one for stretch in stretches for one in stretch.segments] == segments
    for stretch in stretches:
        window = stretch.window
        assert window.seek >= 0
        assert 0 < window.size <= WINDOW_FRAMES
        assert len({one.language for one in stretch.segments}) == 1
        first, last = stretch.segments[0], stretch.segments[-1]
        if last.end + ROOM_S < end / FRAMES_PER_SECOND and last.end - first.start + 2 * ROOM_S <= 30:
            assert window.seek <= max(first.start - ROOM_S, 0) * FRAMES_PER_SECOND
            assert window.seek + window.size >= (last.end + ROOM_S) * FRAMES_PER_SECOND
