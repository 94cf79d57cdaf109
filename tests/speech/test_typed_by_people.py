"""What clients type reaches the model as text: prompts that quote its signs, and languages that it lacks."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from whisper.model import ModelDimensions, Whisper
from whisper.tokenizer import get_tokenizer

from btworker.engine.asr.revision import installed_revision
from btworker.engine.asr.transcriber import Transcriber, WindowOptions
from btworker.engine.asr.weights import Model
from btworker.engine.engine import load
from btworker.errors import BtworkerError, ErrorCode
from btworker.messages import Finished
from tests.speech.jobs import OPTIONS, run, spec_for, task_for
from tests.speech.random_model import DIMS

pytestmark = [pytest.mark.speech, pytest.mark.timeout(300)]

SIGNS = [
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|transcribe|>",
    "<|startofprev|>",
    "<|0.00|>",
    "<|nospeech|>",
]
PROMPTS = [
    "He wrote <|endoftext|> on the board.",
    " ".join(SIGNS),
    "<|" * 1000,
    "東京都港区" * 800,
    "\u202eright to left\u202c שלום \u200f",
    "a\u0000b",
    "   ",
    "🏳️‍🌈" * 600,
]


@pytest.fixture(scope="module")
def transcriber(random_model: Model) -> Transcriber:
    """Of the random model."""
    options = WindowOptions.of(OPTIONS)
    return Transcriber(
        random_model.decoder,
        options,
        tokenizer=random_model.tokens.tokenizer("en", "transcribe"),
        language="en",
        revision=installed_revision(),
        seed="x",
    )


@pytest.mark.parametrize("prompt", PROMPTS, ids=range(len(PROMPTS)))
def test_no_prompt_becomes_a_sign_of_the_model(transcriber: Transcriber, prompt: str) -> None:
    """Its tokens are ordinary text, which reads as the end of the prompt, and fit before a window."""
    tokens = transcriber.prompt(prompt)
    tokenizer: Any = get_tokenizer(multilingual=True, num_languages=99)
    assert all(token < tokenizer.eot for token in tokens)
    assert len(tokens) <= transcriber.longest_prompt
    assert (" " + prompt.strip()).endswith(tokenizer.decode(tokens).lstrip("\ufffd"))


@pytest.mark.parametrize("decode", ["fast", "exact"])
@pytest.mark.parametrize("task", ["transcribe", "translate"])
def test_a_job_with_such_a_prompt_is_complete(
    random_checkpoint: Path, original: Path, tmp_path: Path, decode: str, task: str
) -> None:
    """In both modes and tasks."""
    engine = load(spec_for(random_checkpoint, tmp_path))
    engine.open()
    options = replace(OPTIONS, decode=decode, task=task, prompt=" ".join(SIGNS))
    assert isinstance(run(engine, task_for(tmp_path / "job", original, options=options))[-1], Finished)


@pytest.fixture(scope="module")
def english_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of a model that knows English alone."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("english") / "english.pt"
    model = Whisper(ModelDimensions(**{**vars(DIMS), "n_vocab": 51864}))
    torch.save({"dims": vars(model.dims), "model_state_dict": model.state_dict()}, path)
    return path


@pytest.mark.parametrize(("kind", "language"), [("random_checkpoint", "yue"), ("english_checkpoint", "de")])
def test_a_language_that_an_operators_model_lacks(
    kind: str, language: str, request: pytest.FixtureRequest, original: Path, tmp_path: Path
) -> None:
    """The child that loads it says so, as the client's mistake; English alone is not taken for any language."""
    engine = load(spec_for(request.getfixturevalue(kind), tmp_path))
    engine.open()
    with pytest.raises(BtworkerError, match="does not know") as caught:
        run(engine, task_for(tmp_path / "job", original, options=replace(OPTIONS, language=language)))
    assert caught.value.code is ErrorCode.BAD_OPTION
