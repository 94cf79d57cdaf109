"""WORKER_CPU_PRECISION=half: products on a CPU, of numbers that are rounded to it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from btworker.config import load_settings
from btworker.engine.asr import weights
from btworker.engine.asr.decoding.alignment import Text
from btworker.engine.asr.decoding.kernels.encoding_on_cpu import ByProducts, fastest_on_cpu
from btworker.engine.asr.decoding.kernels.products import BY_ONEDNN, BY_TORCH, IN_BFLOAT16, is_right
from btworker.engine.asr.journal import Journal
from btworker.engine.asr.recognition import Recognition, recognize_alone, run_name
from btworker.engine.asr.weights import Model, load_model
from btworker.engine.sound.ffmpeg import Audio
from btworker.engine.sound.recording import Recording, Whole
from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import Options
from btworker.specs import EngineSettings
from tests.speech.decoder_cases import Case, all_of

CPU = torch.device("cpu")
DEMO = (("demo", Path("btworker/demo/whisper-tiny-words.pt")),)
OPTIONS = Options(model="demo", word_timestamps=True)
pytestmark = [
    pytest.mark.speech,
    pytest.mark.timeout(120),
    pytest.mark.skipif(not is_right(IN_BFLOAT16, 64), reason="oneDNN does not multiply in bfloat16 on this machine"),
]


def _settings(*, rounded: bool) -> EngineSettings:
    return EngineSettings("demo", DEMO, Path("unused"), Path("unused"), offline=True, cpu_half=rounded)


@pytest.fixture(scope="module")
def models() -> Iterator[tuple[Model, Model]]:
    """The embedded model as it is, and rounded, whatever this processor has instructions for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "bfloat16_problem", lambda: None)
        yield load_model("demo", _settings(rounded=False), CPU), load_model("demo", _settings(rounded=True), CPU)


@pytest.fixture
def speech(decoded: Callable[..., Audio]) -> Audio:
    """The shortest of the held-out recordings."""
    return decoded(min(Path("tests/data/heldout").glob("*.opus"), key=lambda path: path.stat().st_size))


def test_a_windows_text_is_the_same(models: tuple[Model, Model], speech: Audio) -> None:
    """Greedy and by beams, with the times of its words; its log-probabilities are near, and other ones."""
    found = []
    for model in models:
        tokenizer = model.tokens.tokenizer("en", "transcribe")
        signs = (*tokenizer.sot_sequence, tokenizer.no_timestamps)
        mel = model.log_mel(speech.samples).stretch(0, min(len(speech.samples) // 160, 3000), size=3000)
        request = Case(mel, "en", "transcribe", ()).request(model.tokens.tokenizer())
        text = Text(signs, (1000, 1001, 1002), 3000)
        asked = replace(request, start=tuple(tokenizer.sot_sequence), to_align=lambda _, text=text: text)
        found.append(all_of(model.decoder, [asked, replace(asked, beams=3)]))
    for one, other in zip(*found, strict=True):
        assert one.tokens == other.tokens and len(one.tokens) > 5
        assert one.logprobs == pytest.approx(other.logprobs, abs=0.25) and one.logprobs != other.logprobs
        assert one.alignment is not None and other.alignment is not None
        assert one.alignment.starts_s == pytest.approx(other.alignment.starts_s, abs=0.1)


@pytest.mark.parametrize("mode", ["fast", "exact"])
def test_a_recordings_text_is_the_same(models: tuple[Model, Model], speech: Audio, mode: str, tmp_path: Path) -> None:
    """In both modes, word for word."""
    exact, rounded = (_recognized(model, speech, mode, tmp_path / str(number)) for number, model in enumerate(models))
    assert exact.text == rounded.text and len(exact.text.split()) > 5
    assert [len(segment.words) for segment in exact.segments] == [len(segment.words) for segment in rounded.segments]


def _recognized(model: Model, speech: Audio, mode: str, path: Path) -> Recognition:
    options = replace(OPTIONS, decode=mode)
    journal = Journal(path, run=run_name(model, "the recording", options))
    steps = recognize_alone(model, Recording(Whole(speech.samples), "the recording"), options, journal=journal)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Recognition = end.value
            return found


def test_windows_of_the_other_precision_are_not_gone_on_with(models: tuple[Model, Model]) -> None:
    """The setting may have changed since the attempt before, or be another one on a box that helps."""
    assert len({run_name(model, "the recording", OPTIONS) for model in models}) == 2


def test_weights_take_half_the_memory(models: tuple[Model, Model]) -> None:
    """Those that layers multiply by; what they are arranged in is rounded up to blocks."""
    found = [[block.mlp_in.weight, block.mlp_out.weight, block.qkv.weight] for block in models[1].network._decoder]
    assert all(weight.dtype is torch.bfloat16 for some in found for weight in some)


def test_a_window_that_is_no_number_stays_alone() -> None:
    """A row of NaN makes none of the others one."""
    weight, x = torch.randn(96, 32), torch.randn(16, 32)
    x[3] = torch.nan
    is_nan = IN_BFLOAT16.linear(x, IN_BFLOAT16.arrange(weight), torch.randn(96)).isnan()
    assert is_nan[3].all() and not is_nan[[*range(3), *range(4, 16)]].any()


def test_products_are_near_those_of_float32() -> None:
    """To what rounding of eight bits gives, not beyond: sums are not rounded on the way."""
    weight, x, bias = torch.randn(64, 2048), torch.randn(16, 2048), 100 + torch.randn(64)
    wanted = BY_TORCH.linear(x, weight, bias)
    found = IN_BFLOAT16.linear(x, IN_BFLOAT16.arrange(weight), bias)
    assert found.dtype is torch.float32
    error = (found - wanted).norm() / (wanted - bias).norm()
    assert 1e-5 < error < 5e-3
    assert is_right(IN_BFLOAT16, 64)
    assert not is_right(replace(IN_BFLOAT16, linear=lambda x, kept, b: 1.5 * IN_BFLOAT16.linear(x, kept, b)), 64)


def test_the_encoders_attention_is_rounded_without_a_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts depend on it, and a trial may end otherwise at the next start."""
    monkeypatch.setattr("btworker.engine.asr.decoding.kernels.encoding_on_cpu.seconds_of", lambda _runs: (2.0, 1.0))
    assert isinstance(fastest_on_cpu(IN_BFLOAT16, 20, 8), ByProducts)
    assert not isinstance(fastest_on_cpu(BY_ONEDNN, 20, 8), ByProducts)


def test_a_processor_that_cannot_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to do; nothing falls back silently. So is a build of torch that gives other numbers."""
    monkeypatch.setattr(weights, "bfloat16_problem", lambda: "this processor has no instructions for it")
    with pytest.raises(BtworkerError, match=r"WORKER_CPU_PRECISION=half: this processor .* use single") as refused:
        load_model("demo", _settings(rounded=True), CPU)
    assert refused.value.code is ErrorCode.MODEL_UNAVAILABLE
    monkeypatch.setattr(weights, "bfloat16_problem", lambda: None)
    monkeypatch.setattr(weights, "is_right", lambda _products, _size: False)
    with pytest.raises(BtworkerError, match="this build of torch"):
        load_model("demo", _settings(rounded=True), CPU)


@pytest.mark.parametrize(("value", "rounded"), [("single", False), ("Half", True), (None, False)])
def test_the_setting_reaches_the_child(value: str | None, rounded: bool) -> None:
    """Off by default."""
    given = {} if value is None else {"WORKER_CPU_PRECISION": value}
    settings = load_settings(WORKER_TOKEN="for-a-test", **given)
    assert EngineSettings.of(settings, threads=1, ffmpeg_processes=1).cpu_half is rounded
