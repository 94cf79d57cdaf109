"""The sound of windows in eight bits a number: how near it is, and that all of decoding goes on with it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from btworker.engine.asr.decoding.alignment import Text
from btworker.engine.asr.decoding.decoder import Decoder
from btworker.engine.asr.decoding.graphs import Recording
from btworker.engine.asr.decoding.kept_sound import KeptSound
from btworker.engine.asr.weights import load_model
from btworker.engine.sound.ffmpeg import Audio
from btworker.errors import BtworkerError
from btworker.specs import EngineSettings
from tests.speech.decoder_cases import SEEDS, Case, all_of, cases
from tests.speech.emulated_graphs import EmulatedRecorder
from tests.speech.lively_model import Pair, lively_pair

pytestmark = [pytest.mark.speech, pytest.mark.timeout(120)]
CPU = torch.device("cpu")
DEMO = (("demo", Path("btworker/demo/whisper-tiny-words.pt")),)


@pytest.fixture(scope="module")
def pair() -> Pair:
    """One set of weights."""
    return lively_pair(seed=3, ends=SEEDS[3])


def test_each_column_is_within_half_of_its_step() -> None:
    """Of 254 steps from the lowest to the highest, whatever the other columns are; a window moves as a whole."""
    new = torch.randn(2, 3, 2, 50, 8) * torch.logspace(-3, 3, 8)
    kept = KeptSound.empty((2, 5, 2, 50, 8), torch.float32, CPU, bits=8)
    kept.keep(torch.tensor([4, 0, 2]), new)
    kept.move(4, 1)
    assert kept.numbers.dtype is torch.int8
    found = kept.of(torch.tensor([1, 0, 2]), torch.float32)
    step = new.abs().amax(-2, keepdim=True) / 127
    assert ((found - new).abs() <= 0.501 * step).all()
    assert torch.equal(kept.first(2).of(slice(None), torch.float32), found[:, [1, 0]])
    silent = KeptSound.empty((2, 1, 2, 5, 8), torch.float32, CPU, bits=8)
    silent.keep(torch.tensor([0]), torch.zeros(2, 1, 2, 5, 8))
    assert not silent.of(slice(None), torch.float32).any()


def test_a_recordings_text_is_the_same(decoded: Callable[..., Audio]) -> None:
    """Of the embedded model, greedy and by beams, with the times of its words, where the setting asks for it; its
    log-probabilities are near, and other ones."""
    found = []
    samples = decoded(min(Path("tests/data/heldout").glob("*.opus"), key=lambda path: path.stat().st_size)).samples
    for bits in (16, 8):
        settings = EngineSettings("demo", DEMO, Path("unused"), Path("unused"), offline=True, sound_bits=bits)
        model = load_model("demo", settings, CPU)
        signs = tuple(model.tokens.tokenizer("en", "transcribe").sot_sequence)
        to_align = Text((*signs, model.tokens.tokenizer().no_timestamps), (1000, 1001, 1002), 3000)
        mel = model.log_mel(samples).stretch(0, min(len(samples) // 160, 3000), size=3000)
        request = Case(mel, "en", "transcribe", ()).request(model.tokens.tokenizer())
        asked = replace(request, start=signs, to_align=lambda _, text=to_align: text)
        found.append(all_of(model.decoder, [asked, replace(asked, beams=3)]))
    for one, other in zip(*found, strict=True):
        assert one.tokens == other.tokens and len(one.tokens) > 5
        assert one.logprobs == pytest.approx(other.logprobs, abs=0.05) and one.logprobs != other.logprobs
        assert one.alignment is not None and other.alignment is not None
        assert one.alignment.starts_s == pytest.approx(other.alignment.starts_s, abs=0.1)


def test_steps_are_recorded_with_it(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU: the same texts as those of steps that are not, in places that are taken again; a window that is no
    number fails alone."""
    for owner, name in ((Decoder, "_round"), (Decoder, "prepare")):
        monkeypatch.setattr(owner, name, torch.no_grad()(getattr(owner, name).__wrapped__))
    monkeypatch.setattr(pair.network, "sound_bits", 8)
    requests = [one.request(pair.tokenizer) for one in cases(seed=1)[:4]]
    poison = replace(cases(seed=1)[0], mel=torch.full((80, 3000), torch.nan)).request(pair.tokenizer)
    recordings = (Recording(None), EmulatedRecorder().recording)
    plain, recorded = (Decoder(pair.network, pair.tokenizer, batch_size=2, recording=one) for one in recordings)
    bad = recorded.submit(poison)
    found = [one.tokens for one in all_of(recorded, requests)]
    assert found == [one.tokens for one in all_of(plain, requests)] and all(found)
    with pytest.raises(BtworkerError, match="no number"):
        _ = bad.answer
