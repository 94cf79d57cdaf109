"""Checkpoints as people have them: each form gives transformers' tokens, and what is none is a sentence."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from btworker.checkpoints import file_hashes, look_into, sha256_of_all
from btworker.engine.asr.checkpoint_file import CheckpointError
from btworker.engine.asr.decoding.requests import Decoded, TextRequest
from btworker.engine.asr.formats.reading import read_any
from btworker.engine.asr.formats.tokens import tokens_of_folder
from btworker.engine.asr.weights import Model, load_model
from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import Options
from btworker.specs import EngineSettings
from tests.speech.checkpoint_forms import (
    ADDED,
    SHAPES,
    WORDS,
    Shape,
    ctranslate2,
    hugging_face,
    model_bin,
    unnamed,
    weights,
    windows,
    write_safetensors,
)
from tests.speech.kept_tokens import KEPT, of_transformers
from tests.speech.oracle import ours

pytestmark = pytest.mark.speech
KEPT_TOKENS = json.loads(KEPT.read_text())
BASE = SHAPES["base"]
CPU = torch.device("cpu")


def load(path: Path) -> Model:
    settings = EngineSettings(
        default_model="own",
        models=(("own", path),),
        model_cache=path.parent / "cache",
        scratch=path.parent,
        offline=True,
        threads=1,
        batch_size=3,
    )
    return load_model("own", settings, CPU)


def decoded(model: Model, shape: Shape) -> list[Decoded]:
    """What the worker's decoder makes of the windows, without timestamps."""
    tokenizer = model.tokens.tokenizer("en", "transcribe")
    tickets = [
        model.decoder.submit(
            TextRequest(
                sound=window,
                start=(*tokenizer.sot_sequence, tokenizer.no_timestamps),
                sot=0,
                timed=False,
                temperatures=(0.0,),
                beams=1,
                seed="",
                unacceptable=lambda _: False,
                to_align=lambda _: None,
            )
        )
        for window in windows(shape)
    ]
    for ticket in tickets:
        model.decoder.wait([ticket])
    return [ticket.answer for ticket in tickets]


def assert_as_transformers(name: str, path: Path) -> Model:
    """Tokens and texts of the windows, under the checkpoint's own numbers."""
    model = load(path)
    found = decoded(model, SHAPES[name])
    assert [list(model.tokens.own_numbers(one.tokens)) for one in found] == KEPT_TOKENS[name]["tokens"]
    assert [one.text for one in found] == [text.strip() for text in KEPT_TOKENS[name]["texts"]]
    return model


@pytest.mark.sliced("shapes of checkpoints", 2)
@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_gives_the_tokens_of_transformers(name: str, tmp_path: Path) -> None:
    """80 and 128 mels, English alone, 99 and 100 languages, one layer of a decoder, added words, other words, and
    lists of its own of what is never chosen."""
    shape = SHAPES[name]
    model = assert_as_transformers(name, hugging_face(tmp_path / "own", shape, weights(shape)))
    assert model.alignment_heads.pairs == ((shape.decoder_layers - 1, 1),)
    assert model.tokens.is_multilingual == bool(shape.languages)
    assert model.tokens.num_languages == (shape.languages or 99)


@pytest.mark.sliced("forms of checkpoints", 1)
@pytest.mark.parametrize("form", ["shards", "bin", "bin shards", "ctranslate2"])
def test_every_form_gives_the_same_tokens(form: str, tmp_path: Path) -> None:
    """Shards, torch's own files and CTranslate2's, of one model."""
    state = weights(BASE)
    folder = tmp_path / "own"
    if form == "ctranslate2":
        ctranslate2(folder, BASE, state)
    else:
        hugging_face(folder, BASE, state, form=form)
    assert_as_transformers("base", folder)


@pytest.mark.sliced("types of numbers", 1)
@pytest.mark.parametrize("form", ["safetensors", "ctranslate2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_numbers_come_as_they_are_written(form: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """All weights, in each type, mapped from the file and not copied."""
    state, write = weights(BASE), ctranslate2 if form == "ctranslate2" else hugging_face
    folder = write(tmp_path / "own", BASE, state, dtype=dtype)
    found = read_any(folder)
    assert found.dims == BASE.dims
    assert found.state.keys() == state.keys()
    for name, value in state.items():
        assert torch.equal(found.state[name], value.to(dtype)), name
    before = next(folder.glob("model.*")).read_bytes()
    found.state["decoder.ln.bias"].fill_(9)
    assert next(folder.glob("model.*")).read_bytes() == before


def test_a_file_of_weights_stands_for_its_folder(tmp_path: Path) -> None:
    """With the configuration beside it."""
    folder = hugging_face(tmp_path / "own", BASE, weights(BASE))
    whole, file = load(folder), load(folder / "model.safetensors")
    assert [one.tokens for one in decoded(whole, BASE)] == [one.tokens for one in decoded(file, BASE)]
    assert file.alignment_heads == whole.alignment_heads


def test_the_hash_of_a_folder_is_that_of_all_its_files(tmp_path: Path) -> None:
    """A transcript that another list of tokens may have changed came from another model."""
    folder = hugging_face(tmp_path / "own", BASE, weights(BASE))

    def found() -> str:
        return sha256_of_all(file_hashes(look_into(folder)))

    before = found()
    assert load(folder).sha256 == before
    (folder / "notes.txt").write_text("no part of the model")
    assert found() == before
    generation = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps({**generation, "suppress_tokens": []}))
    assert found() != before


def test_added_words_are_words(tmp_path: Path) -> None:
    """They are in the text, and their times in its words; numbers without a token are never chosen."""
    shape = SHAPES["added"]
    model = load(hugging_face(tmp_path / "own", shape, weights(shape)))
    tokenizer = model.tokens.tokenizer("en", "transcribe")
    numbers = [shape.plain_size + place for place in range(len(ADDED))]
    here = [model.tokens.end + place for place in range(len(ADDED))]
    assert list(model.tokens.own_numbers(here)) == numbers
    assert tokenizer.decode(here) == "".join(ADDED)
    assert max(here) < tokenizer.eot
    assert model.network.dims.n_vocab == shape.plain_size + len(ADDED)
    assert any(set(numbers) & set(row) for row in KEPT_TOKENS["added"]["tokens"]), "the test's own weights choose one"


def test_added_words_come_out_of_a_recording(tmp_path: Path, noise: npt.NDArray[np.int16]) -> None:
    """In the text, among the words with their times, and under the numbers of the checkpoint's own tokenizer."""
    shape, state = SHAPES["added"], weights(SHAPES["added"])
    state[WORDS][shape.plain_size : shape.plain_size + len(ADDED), 0] = 80.0
    model = load(hugging_face(tmp_path / "own", shape, state))
    options = Options(model="own", decode="exact", language="en", temperature=0.0, word_timestamps=True)
    found = ours(model, noise, options, tmp_path / "journal")
    numbers = {token for segment in found.segments for token in segment.tokens}
    assert numbers & {*range(shape.plain_size, shape.plain_size + len(ADDED))}
    assert any(word in found.text for word in ADDED)
    words = "".join(word.word for segment in found.segments for word in segment.words or ())
    assert any(word in words for word in ADDED)


@pytest.mark.sliced("rows without a token", 1)
@pytest.mark.parametrize("name", ["added", "crisper"])
def test_a_row_without_a_token_is_never_chosen(name: str, tmp_path: Path) -> None:
    """However likely it is: it has no text."""
    shape, state = SHAPES[name], weights(SHAPES[name])
    wanted = [one.tokens for one in decoded(load(hugging_face(tmp_path / "plain", shape, state)), shape)]
    state[WORDS][unnamed(shape), 0] = 200.0
    assert unnamed(shape)
    found = decoded(load(hugging_face(tmp_path / "own", shape, state)), shape)
    assert [one.tokens for one in found] == wanted


@pytest.mark.parametrize("name", ["english", "base"])
def test_older_names_of_signs_are_whispers(name: str, tmp_path: Path) -> None:
    """The hub's checkpoints that know English alone, and what was distilled from them, call Hebrew iw."""
    shape = SHAPES[name]
    folder = hugging_face(tmp_path / "own", shape, weights(shape))
    older = 0
    for path in folder.glob("*.json"):
        text = path.read_text()
        path.write_text(text.replace("<|he|>", "<|iw|>").replace("<|nospeech|>", "<|nocaptions|>"))
        older += text != path.read_text()
    assert older
    tokens = tokens_of_folder(folder, shape.dims.n_vocab)
    assert tokens.encoding is None, "Whisper's own"
    assert (tokens.size, tokens.is_multilingual) == (shape.plain_size, bool(shape.languages))


def test_without_spaces_in_words_a_space_is_no_dash(tmp_path: Path) -> None:
    """Whisper's list of what is never chosen begins with the first token of " -", which is the space there."""
    shape = SHAPES["crisper"]
    folder = hugging_face(tmp_path / "own", shape, weights(shape))
    (folder / "generation_config.json").unlink()
    model = load(folder)
    assert 220 not in model.decoder._rules.vocabulary.suppressed
    words, parts = model.tokens.tokenizer("en").split_to_word_tokens([220, 31373, 220, 31373])
    assert len(words) == len(parts) == 2


def tree(folder: Path, **files: object) -> Path:
    folder.mkdir()
    for name, content in files.items():
        path = folder / name.replace("_json", ".json").replace("_bin", ".bin").replace("_st", ".safetensors")
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return folder


def changed(folder: Path, name: str, **values: Any) -> Path:
    """The base model's folder with other values in one of its files."""
    hugging_face(folder, BASE, weights(BASE))
    raw = json.loads((folder / f"{name}.json").read_text())
    (folder / f"{name}.json").write_text(json.dumps({**raw, **values}))
    return folder


def with_tokenizer(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    hugging_face(folder, BASE, weights(BASE))
    raw = json.loads((folder / "tokenizer.json").read_text())
    change(raw)
    (folder / "tokenizer.json").write_text(json.dumps(raw))
    return folder


def cut(folder: Path, form: str, end: int) -> Path:
    write = ctranslate2 if form == "ctranslate2" else hugging_face
    path = next(write(folder, BASE, weights(BASE)).glob("model.*"))
    path.write_bytes(path.read_bytes()[:end])
    return folder


def quantised(folder: Path) -> Path:
    ctranslate2(folder, BASE, weights(BASE))
    name = "decoder/layer_0/ffn/linear_0/weight"
    (folder / "model.bin").write_bytes(model_bin({name: torch.zeros(2, 2, dtype=torch.int8), **some_variables()}))
    return folder


def some_variables() -> dict[str, Tensor]:
    """Enough of a CTranslate2 model to come to a layer of it, which is of eight bits."""
    names = ("position_encodings/encodings", "layer_norm/gamma", "layer_norm/beta")
    found = {f"{side}/{name}": torch.zeros(2, 2) for side in ("encoder", "decoder") for name in names}
    layer = "encoder/layer_0/self_attention"
    return {
        **found,
        f"{layer}/layer_norm/gamma": torch.zeros(2),
        f"{layer}/layer_norm/beta": torch.zeros(2),
        f"{layer}/linear_0/weight": torch.zeros(6, 2, dtype=torch.int8),
    }


def eight_bits(folder: Path) -> Path:
    hugging_face(folder, BASE, weights(BASE))
    write_safetensors(folder / "model.safetensors", {"x": torch.zeros(2, dtype=torch.int8)})
    return folder


def remove_sign(raw: dict[str, Any]) -> None:
    raw["added_tokens"] = [one for one in raw["added_tokens"] if one["content"] != "<|translate|>"]


def swap_signs(raw: dict[str, Any]) -> None:
    names = {"<|en|>": "<|zh|>", "<|zh|>": "<|en|>"}
    for one in raw["added_tokens"]:
        one["content"] = names.get(one["content"], one["content"])


def no_bytes(raw: dict[str, Any]) -> None:
    raw["model"]["vocab"]["▁the"] = raw["model"]["vocab"].pop("Ġthe")


def unigram(raw: dict[str, Any]) -> None:
    raw["model"] = {"type": "Unigram", "vocab": []}


OTHERS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "wav2vec2": (lambda at: tree(at, config_json={"model_type": "wav2vec2"}, model_st=b""), "'wav2vec2'"),
    "a text model": (lambda at: tree(at, config_json={"model_type": "llama"}, model_st=b""), "'llama'"),
    "nothing": (tree, "has no weights"),
    "LoRA": (lambda at: tree(at, adapter_config_json={}, adapter_model_st=b""), "LoRA"),
    "whisper.cpp's folder": (lambda at: tree(at, **{"ggml-base_bin": b"lmgg"}), "whisper.cpp"),
    "whisper.cpp's file": (lambda at: tree(at, model_bin=b"lmgg" + bytes(99)) / "model.bin", "GGML"),
    "GGUF": (lambda at: tree(at, model_bin=b"GGUF" + bytes(99)) / "model.bin", "GGUF"),
    "Git LFS": (
        lambda at: tree(at, config_json={"model_type": "whisper"}, model_st=b"version https://git-lfs.github.com/spec"),
        "git lfs pull",
    ),
    "TensorFlow": (lambda at: tree(at, config_json={}, **{"tf_model.h5": b""}), "another framework"),
    "quantised": (lambda at: changed(at, "config", quantization_config={"bits": 4}), "quantised"),
    "quantised CTranslate2": (quantised, "quantised weights .int8"),
    "eight bits": (eight_bits, "the type I8"),
    "another CTranslate2": (
        lambda at: tree(at, model_bin=struct.pack("<IH", 6, 16) + b"TransformerSpec\0" + bytes(99)),
        "TransformerSpec",
    ),
    "no shard": (
        lambda at: tree(at, **{"model.safetensors.index.json": {"weight_map": {"a": "model-1.safetensors"}}}),
        "lacks model-1.safetensors",
    ),
    "a shard elsewhere": (
        lambda at: tree(at, **{"model.safetensors.index.json": {"weight_map": {"a": "../x.safetensors"}}}),
        "names no files",
    ),
    "no config": (lambda at: tree(at, model_st=b""), "no config.json"),
    "half a config": (lambda at: tree(at, config_json={"model_type": "whisper"}, model_st=write()), "num_mel_bins"),
    "a config of text": (lambda at: tree(at, config_json=b"{", model_st=b""), "no JSON"),
    "other windows": (lambda at: changed(at, "config", max_source_positions=500), "windows of 10 s"),
    "another activation": (lambda at: changed(at, "config", activation_function="relu"), "activation_function"),
    "another spectrogram": (lambda at: changed(at, "preprocessor_config", hop_length=80), "hop_length=80"),
    "other mels": (lambda at: changed(at, "preprocessor_config", feature_size=128), "feature_size=128"),
    "more layers": (lambda at: changed(at, "config", decoder_layers=3), "does not fit its own dimensions"),
    "a language more": (lambda at: with_tokenizer(at, swap_signs), "where Whisper has another"),
    "no signs": (lambda at: with_tokenizer(at, remove_sign), "without <.translate.>"),
    "no bytes": (lambda at: with_tokenizer(at, no_bytes), "not made of bytes"),
    "another tokenizer": (lambda at: with_tokenizer(at, unigram), "'Unigram'"),
    "cut header": (lambda at: cut(at, "safetensors", 100), "cut off"),
    "cut": (lambda at: cut(at, "safetensors", -100), "cut off"),
    "cut CTranslate2": (lambda at: cut(at, "ctranslate2", -100), "cut off"),
    "cut name": (lambda at: cut(at, "ctranslate2", 9), "cut off|format"),
}


def write() -> bytes:
    """An empty file of safetensors."""
    return struct.pack("<Q", 2) + b"{}"


@pytest.mark.sliced("what is no Whisper", 6)
@pytest.mark.parametrize("name", OTHERS)
def test_what_is_something_else_is_one_sentence(name: str, tmp_path: Path) -> None:
    """Of what it is, and mostly of what to do; without the path."""
    make, what = OTHERS[name]
    with pytest.raises(BtworkerError, match=what) as caught:
        load(make(tmp_path / "own"))
    assert caught.value.code is ErrorCode.MODEL_UNAVAILABLE
    assert str(tmp_path) not in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "header",
    [
        b"[]", b"{", b'{"a": 1}', b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1000000000000], "data_offsets": [0, 4000000000000]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}',
        b'{"a": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}}',
    ],
)  # fmt: skip
def test_no_number_is_read_from_elsewhere(header: bytes, tmp_path: Path) -> None:
    """Whatever the header of a hostile file says."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    (tmp_path / "config.json").write_text('{"model_type": "whisper"}')
    with pytest.raises(CheckpointError, match=r"cut off|damaged"):
        read_any(path)


@pytest.mark.full
@pytest.mark.timeout(600)
def test_the_kept_tokens_are_those_of_transformers(tmp_path: Path) -> None:
    """Made once more by the release that is pinned."""
    assert dict(of_transformers(tmp_path)) == KEPT_TOKENS
