"""The embedded model on speech that it never heard: our loop equals whisper's, and the model is as good as its card.

Ten held-out recordings under BTWORKER_FULL=1, a few otherwise. The figures are printed: run with -s to see them.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from btworker.engine.asr.recognition import Recognition
from btworker.engine.asr.weights import Model, load_model
from btworker.engine.sound.ffmpeg import Audio
from btworker.jobs import Options
from btworker.specs import EngineSettings
from tests.slices import FULL, slice_of
from tests.speech.oracle import assert_equal, ours, theirs, whisper_model
from tools.demo_model.evaluate import Tally, score

pytestmark = [
    pytest.mark.speech,
    pytest.mark.timeout(1800),
    # whisper's beam search hands tensors to numpy 2
    pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning"),
]

CHECKPOINT = Path("btworker/demo/whisper-tiny-words.pt")
HELD_OUT = sorted(Path("tests/data/heldout").glob("*.opus"))
SHORT = sorted(HELD_OUT, key=lambda path: path.stat().st_size)
SAMPLE = Path("btworker/demo/sample.flac")
COMPARED = [SAMPLE, *slice_of([*SHORT[4:13], SHORT[-5]], 1, "compared with whisper")]
MEASURED = HELD_OUT if FULL else slice_of(SHORT[6:16], 4, "the model's promise")
ACCEPTED_ERRORS = 0.05 if FULL else 0.10
"""Share of the words. Where they are few, one more mistake is a whole percent."""

OPTIONS = Options(model="demo", decode="exact")
VARIANTS = {
    "no words": Options(model="demo", decode="exact", word_timestamps=False),
    "prompt": Options(model="demo", decode="exact", prompt="Monday, Tuesday."),
    "language": Options(model="demo", decode="exact", language="en"),
    "beam": Options(model="demo", decode="exact", word_timestamps=False, beam_size=2),
}


@pytest.fixture(scope="module")
def demo_model() -> Model:
    """The checkpoint that is in the package."""
    settings = EngineSettings("demo", (("demo", CHECKPOINT),), Path("unused"), Path("unused"), offline=True)
    return load_model("demo", settings, torch.device("cpu"))


@pytest.fixture(scope="module")
def demo_whisper() -> Any:
    """The same in openai-whisper's hands."""
    return whisper_model(CHECKPOINT)


@pytest.fixture
def both(
    demo_model: Model, demo_whisper: Any, decoded: Callable[..., Audio], tmp_path: Path
) -> Callable[[Path, Options], tuple[Recognition, dict[str, Any]]]:
    """Our result and whisper's for one recording."""

    def run(path: Path, options: Options) -> tuple[Recognition, dict[str, Any]]:
        samples = decoded(path).samples
        journal = tmp_path / f"{path.stem}.jsonl"
        return ours(demo_model, samples, options, journal), theirs(demo_whisper, samples, options)

    return run


@pytest.mark.parametrize("path", COMPARED, ids=lambda path: path.stem)
def test_held_out_recordings_equal(path: Path, both: Callable[..., Any]) -> None:
    """With word times, language detected."""
    assert_equal(*both(path, OPTIONS))


@pytest.mark.sliced("options of the demo model", 2)
@pytest.mark.parametrize("name", VARIANTS)
def test_variants_equal(name: str, both: Callable[..., Any]) -> None:
    """One recording, other options."""
    assert_equal(*both(SHORT[3], VARIANTS[name]))


def test_the_model_keeps_its_promise(
    demo_model: Model,
    demo_whisper: Any,
    decoded: Callable[..., Audio],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Word errors within what its card says, 90 % of segment starts within 0.3 s, 85 % of word starts within 0.2 s."""
    total = Tally()
    for path in MEASURED:
        mine = ours(demo_model, decoded(path).samples, OPTIONS, tmp_path / f"{path.stem}.jsonl")
        segments = [{**segment.to_dict(), "words": [w.to_dict() for w in segment.words]} for segment in mine.segments]
        total += score(json.loads(path.with_suffix(".json").read_text()), {"segments": segments})
    with capsys.disabled():
        print(f"\n{len(MEASURED)} held-out recordings: {total.summary()}")
    assert total.errors <= ACCEPTED_ERRORS * total.words
    assert total.segment_starts_right >= 0.90 * total.segments
    assert total.word_starts_right >= 0.85 * total.matched
    assert not FULL or total.words >= 2000
