"""The languages that a recording may be in, with the embedded model and a recording in English."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from btworker.engine.asr.language import only
from btworker.engine.asr.recognition import Recognition
from btworker.engine.asr.weights import Model, load_model
from btworker.engine.sound.ffmpeg import Audio
from btworker.errors import BtworkerError
from btworker.jobs import EACH_WINDOW, Options
from btworker.specs import EngineSettings
from tests.speech.oracle import ours

pytestmark = [pytest.mark.speech, pytest.mark.timeout(300)]

CHECKPOINT = Path("btworker/demo/whisper-tiny-words.pt")
ENGLISH = Path("tests/data/heldout/05.opus")
FAST, EXACT = Options(model="demo", word_timestamps=False), Options(model="demo", word_timestamps=False, decode="exact")


@pytest.fixture(scope="module")
def model() -> Model:
    """The checkpoint that is in the package."""
    settings = EngineSettings("demo", (("demo", CHECKPOINT),), Path("unused"), Path("unused"), offline=True)
    return load_model("demo", settings, torch.device("cpu"))


@pytest.fixture
def recognized(model: Model, decoded: Callable[..., Audio], tmp_path: Path) -> Callable[[Options], Recognition]:
    """The English recording with these options."""
    samples = np.asarray(decoded(ENGLISH).samples)
    return lambda options: ours(model, samples, options, tmp_path / f"{hash(options)}.jsonl")


@pytest.mark.parametrize("options", [FAST, EXACT, replace(FAST, language=EACH_WINDOW)], ids=["fast", "exact", "each"])
def test_a_language_is_detected_among_those_given(options: Options, recognized: Callable[..., Recognition]) -> None:
    """English where it is one of them, and then with the text that it has without them; one of the others where not."""
    free, among = recognized(options), recognized(replace(options, languages=("de", "en")))
    assert (among.language, among.text) == (free.language, free.text)
    assert among.language == "en"
    assert recognized(replace(options, languages=("de", "fr"))).language in ("de", "fr")


def test_a_language_that_the_model_lacks_is_refused(recognized: Callable[..., Recognition]) -> None:
    """Also where it is one of several; the option is named."""
    with pytest.raises(BtworkerError, match="does not know cantonese") as caught:
        recognized(replace(FAST, languages=("en", "yue")))
    assert caught.value.param == "languages"


def test_shares_are_of_those_that_it_may_be() -> None:
    """They sum to one: how sure a window has to be of its language stays the same number."""
    found = only(("de", "fr"), {"en": 0.9, "de": 0.06, "fr": 0.02, "es": 0.02})
    assert found == pytest.approx({"de": 0.75, "fr": 0.25})
    assert only((), {"en": 1.0}) == {"en": 1.0}
