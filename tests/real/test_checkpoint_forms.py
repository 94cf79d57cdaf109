"""OpenAI's base in the forms in which people have it: the same tokens of people's voices, and those of transformers.

python -m tests.real.test_checkpoint_forms    makes tests/data/real/transformers.json anew (needs make bench-peers)
"""

import json
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from torch import Tensor
from whisper.model import ModelDimensions

from bench.real.recordings import OWN, recordings
from bench.real.weights import UnreachableError, checkpoint
from btworker.engine.asr.checkpoint_file import read_checkpoint
from btworker.engine.asr.decoding.requests import TextRequest
from btworker.engine.asr.mel import LogMel
from btworker.engine.asr.weights import Model, load_model
from btworker.specs import EngineSettings
from tests.speech.checkpoint_forms import SHAPES, hugging_face
from tests.speech.kept_tokens import of_base

pytestmark = [pytest.mark.speech, pytest.mark.real, pytest.mark.full, pytest.mark.timeout(600)]
KEPT = OWN / "transformers.json"


def windows() -> Tensor:
    """The first half minute of each recording."""
    return torch.stack([LogMel(one.samples, n_mels=80, peak=None).frames(0, 3000) for one in recordings(OWN)])


def tokens(path: Path, name: str = "own") -> tuple[Model, list[list[int]]]:
    """What the worker's decoder makes of the windows."""
    settings = EngineSettings(name, ((name, path),), path.parent, path.parent, offline=True, batch_size=8)
    model = load_model(name, settings, torch.device("cpu"))
    tokenizer = model.tokens.tokenizer("en", "transcribe")
    start = (*tokenizer.sot_sequence, tokenizer.no_timestamps)
    tickets = [
        model.decoder.submit(
            TextRequest(
                sound=window,
                start=start,
                sot=0,
                timed=False,
                temperatures=(0.0,),
                beams=1,
                seed="",
                unacceptable=lambda _: False,
                to_align=lambda _: None,
            )
        )
        for window in windows()
    ]
    for ticket in tickets:
        model.decoder.wait([ticket])
    return model, [list(ticket.answer.tokens) for ticket in tickets]


def base() -> tuple[Path, Path, dict[str, Tensor], ModelDimensions]:
    """OpenAI's file, CTranslate2's folder, the weights and their dimensions."""
    found = checkpoint("base")
    raw = read_checkpoint(found.path)
    return found.path, found.ctranslate2, raw["model_state_dict"], ModelDimensions(**raw["dims"])


def test_the_forms_of_one_model_are_one_model(tmp_path: Path) -> None:
    """OpenAI's own, CTranslate2's and Hugging Face's give the same tokens, by the same heads; and all but one window at
    most, where another CPU may turn a near tie over, those of transformers."""
    try:
        path, ctranslate2, state, dims = base()
    except UnreachableError as error:
        pytest.skip(f"left out: real weights on real speech, {error}")
    folder = hugging_face(tmp_path / "own", SHAPES["base"], state, dtype=torch.float16, dims=dims)
    (folder / "generation_config.json").unlink()  # its heads are not base's
    model, wanted = tokens(path)
    for other in (ctranslate2, folder):
        same, found = tokens(other)
        assert found == wanted
        assert same.alignment_heads.pairs == model.alignment_heads.pairs
    kept = json.loads(KEPT.read_text())["tokens"]
    assert sum(one == other for one, other in zip(wanted, kept, strict=True)) >= len(kept) - 1


def test_a_model_that_knows_english_alone() -> None:
    """tiny.en as CTranslate2 has it, with the hub's tokenizer, in which a language has an older name: the same tokens,
    by the same heads."""
    try:
        found = checkpoint("tiny.en")
    except UnreachableError as error:
        pytest.skip(f"left out: real weights on real speech, {error}")
    model, wanted = tokens(found.path, "tiny.en")
    same, others = tokens(found.ctranslate2)
    assert others == wanted
    assert same.alignment_heads.pairs == model.alignment_heads.pairs


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        KEPT.write_text(json.dumps(of_base(Path(scratch), *base()[2:], windows()), ensure_ascii=False) + "\n")
    sys.exit(0)
