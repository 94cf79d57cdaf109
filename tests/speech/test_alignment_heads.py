"""Where the heads that word times come from are known from, for each kind of checkpoint."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from whisper.model import ModelDimensions, Whisper

from btworker.engine.asr.alignment_heads import AlignmentHeads, known_signatures, official_heads
from btworker.engine.asr.weights import Model, load_model
from btworker.errors import BtworkerError, ErrorCode
from btworker.specs import EngineSettings

pytestmark = pytest.mark.speech
DIMS = ModelDimensions(
    n_mels=80, n_audio_ctx=1500, n_audio_state=12, n_audio_head=2, n_audio_layer=1,
    n_vocab=51865, n_text_ctx=32, n_text_state=24, n_text_head=6, n_text_layer=4,
)  # fmt: skip
"""As many heads as tiny has, and small otherwise."""
UPPER_HALF = tuple((layer, head) for layer in (2, 3) for head in range(6))
SOME = ((0, 5), (3, 1))


def weights(seed: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    model = Whisper(DIMS)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return {name: value for name, value in model.state_dict().items() if name != "decoder.mask"}


def saved(path: Path, state: dict[str, torch.Tensor], **more: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    torch.save({"dims": vars(DIMS), "model_state_dict": state, **more}, path)
    return path


def load(path: Path, setting: str = "") -> Model:
    folder = path.parent.parent
    settings = EngineSettings(
        default_model="own",
        models=(("own", path),),
        model_cache=folder / "cache",
        scratch=folder,
        offline=True,
        batch_size=1,
        alignment_heads=(("own", setting), ("another", "0:0")),
    )
    return load_model("own", settings, torch.device("cpu"))


def heads_of(path: Path, setting: str = "") -> AlignmentHeads:
    return load(path, setting).alignment_heads


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A checkpoint of which nothing is known."""
    return saved(tmp_path / "own" / "own.pt", weights())


def test_of_an_unknown_checkpoint_all_heads_are_used_and_the_log_says_so(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of the upper half, as in openai-whisper."""
    found = heads_of(own)
    assert found == AlignmentHeads("all", UPPER_HALF)
    assert found.to_dict() == {"source": "all"}
    assert "WORKER_ALIGNMENT_HEADS" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["pairs", "flags", "state"])
def test_a_checkpoint_may_bring_its_own(form: str, tmp_path: Path) -> None:
    """As pairs, as a matrix of flags, beside the weights or among them."""
    flags = torch.zeros(4, 6, dtype=torch.bool)
    for layer, head in SOME:
        flags[layer, head] = True
    raw: Any = [list(pair) for pair in SOME] if form == "pairs" else flags
    more = {} if form == "state" else {"alignment_heads": raw}
    state = {**weights(), **({"alignment_heads": raw} if form == "state" else {})}
    assert heads_of(saved(tmp_path / "own" / "own.pt", state, **more)) == AlignmentHeads("checkpoint", SOME)


@pytest.mark.parametrize("raw", [[[4, 0]], [[0, 6]], [[-1, 0]], [[0]], [0], [], "0:1", [[0.0, 1.0]], {"0": 1}])
def test_heads_that_the_model_has_not_are_not_its_own(raw: Any, tmp_path: Path) -> None:
    """Whatever a strange file says."""
    assert heads_of(saved(tmp_path / "own" / "own.pt", weights(), alignment_heads=raw)).source == "all"
    (tmp_path / "own" / "own.json").write_text(json.dumps({"alignment_heads": raw}))
    assert heads_of(tmp_path / "own" / "own.pt").source == "all"


@pytest.mark.parametrize("name", ["own.json", "generation_config.json", "config.json"])
def test_a_configuration_beside_the_checkpoint_is_read(name: str, own: Path) -> None:
    """As Hugging Face and CTranslate2 write it; one that may be another checkpoint's is not."""
    (own.parent / name).write_text(json.dumps({"alignment_heads": [list(pair) for pair in SOME]}))
    assert heads_of(own) == AlignmentHeads("file", SOME)
    saved(own.parent / "another.pt", weights(1))
    assert heads_of(own).source == ("file" if name == "own.json" else "all")


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, " " * (1 << 20) + "{}"])
def test_a_configuration_that_is_none_is_left(text: str, own: Path) -> None:
    """Broken, too deep, too long."""
    (own.parent / "own.json").write_text(text)
    assert heads_of(own).source == "all"


def test_the_setting_comes_first(own: Path) -> None:
    """Pairs, or an official model's name; its heads are those that are aligned by."""
    (own.parent / "own.json").write_text(json.dumps({"alignment_heads": [[1, 1]]}))
    assert heads_of(own, "0:5 3:1") == AlignmentHeads("setting", SOME)
    assert heads_of(own, "tiny") == AlignmentHeads("setting", official_heads("tiny", DIMS), "tiny")


@pytest.mark.parametrize("setting", ["4:0", "0:6", "base"])
def test_a_setting_that_does_not_fit_is_an_error(setting: str, own: Path) -> None:
    """The model is not served with wrong times."""
    with pytest.raises(BtworkerError, match="WORKER_ALIGNMENT_HEADS") as caught:
        heads_of(own, setting)
    assert caught.value.code is ErrorCode.MODEL_UNAVAILABLE


@pytest.mark.parametrize("made", ["half", "tuned"])
def test_a_copy_of_an_official_model_in_the_cache_is_known_by_its_weights(made: str, tmp_path: Path) -> None:
    """In another precision, and fine-tuned; a model that was trained apart is not taken for one."""
    saved(tmp_path / "cache" / "tiny.pt", weights())
    torch.manual_seed(2)
    state = {
        name: value.half() if made == "half" else value + 0.02 * torch.randn_like(value)
        for name, value in weights().items()
    }
    found = heads_of(saved(tmp_path / "own" / "own.pt", state))
    assert found == AlignmentHeads("weights", official_heads("tiny", DIMS), "tiny")
    assert found.to_dict() == {"source": "weights", "model": "tiny"}
    assert heads_of(saved(tmp_path / "own" / "own.pt", weights(1))).source == "all"


def test_a_file_in_the_cache_that_is_no_checkpoint_is_left(own: Path, tmp_path: Path) -> None:
    """It may be half a download."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "tiny.pt").write_bytes(b"PK\x03\x04 and no more")
    torch.save([1, 2], tmp_path / "cache" / "tiny.en.pt")
    assert heads_of(own).source == "all"


def test_signatures_that_come_along_are_of_models_with_heads() -> None:
    """And unlike each other."""
    known = known_signatures()
    assert {"base", "small", "tiny.en"} <= set(known)
    for name, one in known.items():
        assert len(one) == 256 and torch.isfinite(one).all()
        for other in known.keys() - {name}:
            assert abs(float(torch.nn.functional.cosine_similarity(one, known[other], dim=0))) < 0.2
