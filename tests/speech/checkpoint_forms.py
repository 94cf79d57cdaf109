"""Whispers of random weights in the forms in which people have checkpoints: Hugging Face's folders and CTranslate2's.

The writers are ours, so that the readers are held to the formats as they are described and to nobody's library.
"""

import json
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from whisper.model import ModelDimensions, Whisper
from whisper.tokenizer import LANGUAGES, get_tokenizer

from btworker.engine.asr.formats.hugging_face import DIMENSIONS, OTHERS, PARTS

WORDS = "decoder.token_embedding.weight"
TYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int8: "I8"}
PRINTABLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
SPELLED = {byte: chr(byte) for byte in PRINTABLE} | {
    byte: chr(256 + place) for place, byte in enumerate(byte for byte in range(256) if byte not in PRINTABLE)
}
"""GPT-2's character for each byte."""
SCALES = {
    "decoder.positional": 1.0, "encoder.positional": 0.3, WORDS: 0.05, "cross_attn.value.weight": 0.32, "": 0.08,
}  # fmt: skip
"""Part of a name -> standard deviation: with these a text depends on the sound, on where it is, and on its past."""
ADDED = ("ibuprofen", " Müller-Lüdenscheidt", "[UH]")


@dataclass(frozen=True)
class Shape:
    """A kind of Whisper."""

    mels: int
    encoder_layers: int
    decoder_layers: int
    languages: int
    """0: English alone, in the other vocabulary."""
    added: tuple[str, ...] = ()
    """Words behind the timestamps."""
    padding: int = 0
    """Rows behind those, which are no tokens."""
    own_words: bool = False
    """As CrisperWhisper's vocabulary: no word has a space in front, and a space is a word."""
    generation: Mapping[str, Any] = field(default_factory=dict)
    """In place of what is written into generation_config.json."""

    @property
    def tokenizer(self) -> Any:
        """Whisper's, of which the checkpoint's is made."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # whisper does not close what it reads once
            return get_tokenizer(bool(self.languages), num_languages=self.languages or 99)

    @property
    def plain_size(self) -> int:
        """Tokens without the added ones."""
        return int(self.tokenizer.encoding.n_vocab)

    @property
    def dims(self) -> ModelDimensions:
        """openai-whisper's dimensions of it."""
        rows = self.plain_size + len(self.added) + self.padding
        return ModelDimensions(
            self.mels, 1500, 64, 2, self.encoder_layers, rows, 96, 64, 2, self.decoder_layers
        )  # fmt: skip


SHAPES = {
    "base": Shape(80, 2, 2, 99),
    "english": Shape(80, 2, 2, 0),
    "large-v3": Shape(128, 2, 2, 100),
    "turbo": Shape(128, 3, 2, 100),
    "distil": Shape(128, 4, 1, 100),
    "added": Shape(80, 2, 2, 99, added=ADDED, padding=4),
    "crisper": Shape(128, 2, 2, 100, own_words=True, generation={"suppress_tokens": []}),
    "own lists": Shape(
        80, 2, 2, 99,
        generation={
            "suppress_tokens": [50258, *range(400, 9000)],
            "begin_suppress_tokens": [220, 50257, *range(9000, 30000)],
        },
    ),
}  # fmt: skip


def weights(shape: Shape, *, seed: int = 0) -> dict[str, Tensor]:
    """Weights whose texts end at different steps, by openai-whisper's names, float32; the same with every torch."""
    random, dims = np.random.RandomState(seed), shape.dims
    state = {}
    for name, value in Whisper(dims).state_dict().items():
        scale = next(scale for part, scale in SCALES.items() if part in name)
        state[name] = torch.from_numpy(random.standard_normal(tuple(value.shape)).astype(np.float32)) * scale
        if name.rsplit(".", 2)[-2].endswith(("ln", "ln_post")) and name.endswith("weight"):
            state[name] += 1
    for name in ("decoder.mask", "alignment_heads"):
        state.pop(name, None)
    state["decoder.ln.weight"][:] = 60.0
    state["decoder.ln.weight"][0] = 0.0
    state["decoder.ln.bias"][0] = 1.0
    bias, end = state[WORDS][:, 0], shape.tokenizer.eot
    bias.zero_()
    bias[end + 1 :] = -100.0
    bias[end] = 30.0
    bias[shape.plain_size : shape.plain_size + len(shape.added)] = 30.0
    state[WORDS][unnamed(shape), 0] = -100.0
    return state


def unnamed(shape: Shape) -> list[int]:
    """Rows that are no tokens, among the words and behind all."""
    named = {*vocabulary(shape).values(), *range(shape.tokenizer.eot, shape.plain_size + len(shape.added))}
    return [row for row in range(shape.dims.n_vocab) if row not in named]


def windows(shape: Shape, count: int = 3) -> Tensor:
    """Mels of noise, each of another colour, (count, mels, 3000) float32."""
    random = np.random.RandomState(7)
    noise = random.standard_normal((count, shape.mels, 3000)) * 0.4 + random.standard_normal((count, shape.mels, 1))
    return torch.from_numpy(noise.astype(np.float32))


def vocabulary(shape: Shape) -> dict[str, int]:
    """Words as Hugging Face spells them -> token, without signs."""
    ranks = shape.tokenizer.encoding._mergeable_ranks
    spelled = {"".join(SPELLED[byte] for byte in word): token for word, token in ranks.items()}
    if not shape.own_words:
        return spelled
    stripped: dict[str, int] = {}
    for word, token in sorted(spelled.items(), key=lambda pair: pair[1]):
        bare = word if token == spelled["Ġ"] else word.replace("Ġ", "")
        stripped.setdefault(bare or word, token)
    return stripped


def hugging_face(
    folder: Path,
    shape: Shape,
    state: Mapping[str, Tensor],
    *,
    form: str = "safetensors",
    dtype: torch.dtype = torch.float32,
    dims: ModelDimensions | None = None,
) -> Path:
    """Write a folder as save_pretrained does: `form` is "safetensors", "shards", "bin" or "bin shards"; `dims` are
    others than the shape's."""
    folder.mkdir(parents=True)
    _write_settings(folder, shape, dims or shape.dims)
    theirs = {_their_name(name): value.to(dtype) for name, value in state.items()}
    if form == "safetensors":
        write_safetensors(folder / "model.safetensors", theirs)
    elif form == "bin":
        torch.save(theirs, folder / "pytorch_model.bin")
    else:
        stem, ending = ("pytorch_model", "bin") if form == "bin shards" else ("model", "safetensors")
        places = {}
        for number in range(3):
            part = dict(list(theirs.items())[number::3])
            name = f"{stem}-{number + 1:05d}-of-00003.{ending}"
            torch.save(part, folder / name) if ending == "bin" else write_safetensors(folder / name, part)
            places |= dict.fromkeys(part, name)
        (folder / f"{stem}.{ending}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> Path:
    """Write the format: the header's length, the header, the numbers."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at, parts = 0, []
    for name, value in tensors.items():
        raw = value.contiguous().view(torch.uint8).numpy().tobytes() if value.ndim else value.numpy().tobytes()
        header[name] = {
            "dtype": TYPES[value.dtype],
            "shape": list(value.shape),
            "data_offsets": [at, at + len(raw)],
        }
        at += len(raw)
        parts.append(raw)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))
    return path


def _their_name(name: str) -> str:
    """Hugging Face's name of a weight."""
    for theirs, ours in OTHERS.items():
        if name == ours:
            return f"model.{theirs}"
    if ".blocks." not in name:
        return f"model.{name}"
    side, _, index, rest = name.split(".", 3)
    part, kind = rest.rsplit(".", 1)
    return f"model.{side}.layers.{index}.{ {ours: theirs for theirs, ours in PARTS.items()}[part] }.{kind}".replace(
        " ", ""
    )


def _write_settings(folder: Path, shape: Shape, dims: ModelDimensions) -> None:
    tokenizer = shape.tokenizer
    sizes = {theirs: getattr(dims, ours) for ours, theirs in DIMENSIONS.items()}
    end = tokenizer.eot
    config = {
        **sizes, "model_type": "whisper", "architectures": ["WhisperForConditionalGeneration"],
        "activation_function": "gelu",
        "encoder_ffn_dim": 4 * dims.n_audio_state, "decoder_ffn_dim": 4 * dims.n_text_state, "scale_embedding": False,
        "pad_token_id": end, "bos_token_id": end, "eos_token_id": end, "decoder_start_token_id": tokenizer.sot,
        "torch_dtype": "float32",
    }  # fmt: skip
    special = (tokenizer.transcribe, tokenizer.translate, tokenizer.sot, tokenizer.sot_prev, tokenizer.sot_lm)
    generation = {
        "pad_token_id": end, "bos_token_id": end, "eos_token_id": end, "decoder_start_token_id": tokenizer.sot,
        "is_multilingual": bool(shape.languages), "max_length": dims.n_text_ctx, "max_initial_timestamp_index": 50,
        "no_timestamps_token_id": tokenizer.no_timestamps, "return_timestamps": False,
        "prev_sot_token_id": tokenizer.sot_prev, "begin_suppress_tokens": [220, end],
        "suppress_tokens": sorted({*tokenizer.non_speech_tokens, *special, tokenizer.no_speech}),
        "lang_to_id": {f"<|{code}|>": tokenizer.to_language_token(code) for code in list(LANGUAGES)[: shape.languages]},
        "task_to_id": {"transcribe": tokenizer.transcribe, "translate": tokenizer.translate},
        "alignment_heads": [[dims.n_text_layer - 1, 1]],
    }  # fmt: skip
    if not shape.languages:
        del generation["lang_to_id"], generation["task_to_id"]
    feature = {"feature_size": dims.n_mels, "sampling_rate": 16000, "hop_length": 160, "n_fft": 400, "chunk_length": 30,
               "feature_extractor_type": "WhisperFeatureExtractor", "padding_value": 0.0}  # fmt: skip
    for name, value in {
        "config": config,
        "generation_config": {**generation, **shape.generation},
        "preprocessor_config": feature,
        "tokenizer": tokenizer_json(shape),
    }.items():
        (folder / f"{name}.json").write_text(json.dumps(value))


def tokenizer_json(shape: Shape) -> dict[str, Any]:
    """Hugging Face's tokenizer.json, without merges, which decoding needs none of."""
    signs = shape.tokenizer.encoding._special_tokens
    added = [
        {"id": token, "content": name, "special": True, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False}
        for name, token in sorted(signs.items(), key=lambda pair: pair[1])
    ] + [
        {"id": shape.plain_size + place, "content": word, "special": False, "single_word": False, "lstrip": False,
         "rstrip": False, "normalized": False}
        for place, word in enumerate(shape.added)
    ]  # fmt: skip
    # where numbers are left out, the library goes by those of the vocabulary alone
    words = {**vocabulary(shape), **(signs if shape.own_words else {})}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None, "added_tokens": added,
        "pre_tokenizer": byte_level, "post_processor": byte_level, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "",
                  "end_of_word_suffix": "", "fuse_unk": False, "vocab": words, "merges": []},
    }  # fmt: skip


Array = NDArray[np.generic]
KINDS = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4, "bfloat16": 5}
"""CTranslate2's numbers for types."""


def ctranslate2(folder: Path, shape: Shape, state: Mapping[str, Tensor], *, dtype: torch.dtype = torch.float32) -> Path:
    """Write a folder as ct2-transformers-converter does, with the tokenizer.json that people put beside it."""
    folder.mkdir(parents=True)
    aliases = {"decoder/projection/weight": "decoder/embeddings/weight"}
    (folder / "model.bin").write_bytes(model_bin(ctranslate2_names(state, shape.dims), aliases, dtype=dtype))
    tokenizer = shape.tokenizer
    special = (tokenizer.transcribe, tokenizer.translate, tokenizer.sot, tokenizer.sot_prev, tokenizer.sot_lm)
    config = {
        "alignment_heads": [[shape.dims.n_text_layer - 1, 1]],
        "lang_ids": [tokenizer.to_language_token(code) for code in list(LANGUAGES)[: shape.languages or 99]],
        "suppress_ids": sorted({*tokenizer.non_speech_tokens, *special, tokenizer.no_speech}),
        "suppress_ids_begin": [220, tokenizer.eot],
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json(shape)))
    return folder


def model_bin(
    variables: Mapping[str, Tensor], aliases: Mapping[str, str] | None = None, *, dtype: torch.dtype | None = None
) -> bytes:
    """A model.bin as CTranslate2 writes it; `dtype` is that of its floats."""

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    out = [struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(variables))]
    for name, value in variables.items():
        number = value.to(dtype) if dtype and value.is_floating_point() else value
        raw = number.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        shape = struct.pack(f"<B{number.ndim}I", number.ndim, *number.shape)
        kind = KINDS[str(number.dtype).removeprefix("torch.")]
        out += [text(name) + shape + struct.pack("<BI", kind, len(raw)), raw]
    out.append(struct.pack("<I", len(aliases or {})))
    return b"".join(out + [text(alias) + text(name) for alias, name in (aliases or {}).items()])


def ctranslate2_names(state: Mapping[str, Tensor], dims: ModelDimensions) -> dict[str, Tensor]:
    """openai-whisper's state under CTranslate2's names: what its converter does, written down once more."""

    def fused(name: str, parts: tuple[str, ...]) -> dict[str, Tensor]:
        weights = [state[f"{name}.{part}.weight"] for part in parts]
        zeros = torch.zeros(len(weights[0]), dtype=weights[0].dtype)
        biases = [state.get(f"{name}.{part}.bias", zeros) for part in parts]
        return {"weight": torch.cat(weights), "bias": torch.cat(biases)}

    found: dict[str, Tensor] = {}

    def put(name: str, parts: dict[str, Tensor]) -> None:
        found.update({f"{name}/{part}": value for part, value in parts.items()})

    def norm(theirs: str, ours: str) -> None:
        put(theirs, {"gamma": state[f"{ours}.weight"], "beta": state[f"{ours}.bias"]})

    sides = (
        ("encoder", dims.n_audio_layer, "ln_post", dims.n_audio_head),
        ("decoder", dims.n_text_layer, "ln", dims.n_text_head),
    )
    for side, layers, last, heads in sides:
        found[f"{side}/num_heads"] = torch.tensor(heads, dtype=torch.int16)
        found[f"{side}/position_encodings/encodings"] = state[f"{side}.positional_embedding"]
        norm(f"{side}/layer_norm", f"{side}.{last}")
        for index in range(layers):
            theirs, ours = f"{side}/layer_{index}", f"{side}.blocks.{index}"
            norm(f"{theirs}/self_attention/layer_norm", f"{ours}.attn_ln")
            put(f"{theirs}/self_attention/linear_0", fused(f"{ours}.attn", ("query", "key", "value")))
            put(f"{theirs}/self_attention/linear_1", fused(f"{ours}.attn", ("out",)))
            if side == "decoder":
                norm(f"{theirs}/attention/layer_norm", f"{ours}.cross_attn_ln")
                for number, parts in enumerate((("query",), ("key", "value"), ("out",))):
                    put(f"{theirs}/attention/linear_{number}", fused(f"{ours}.cross_attn", parts))
            norm(f"{theirs}/ffn/layer_norm", f"{ours}.mlp_ln")
            put(f"{theirs}/ffn/linear_0", fused(f"{ours}.mlp", ("0",)))
            put(f"{theirs}/ffn/linear_1", fused(f"{ours}.mlp", ("2",)))
    for number in (1, 2):
        put(f"encoder/conv{number}", {part: state[f"encoder.conv{number}.{part}"] for part in ("weight", "bias")})
    found["decoder/embeddings/weight"] = state[WORDS]
    return found
