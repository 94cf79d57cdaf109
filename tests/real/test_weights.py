"""The reader of weights from strangers: it takes numbers and runs nothing. Needs no weights."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from whisper.model import ModelDimensions, Whisper

from bench.real.ctranslate2_model import ModelFileError, convert, read_variables
from bench.real.weights import state_sha256
from btworker.engine.asr.decoding.network import Network

pytestmark = pytest.mark.speech

DIMS = ModelDimensions(80, 1500, 8, 2, 1, 51865, 448, 8, 2, 2)
Array = NDArray[np.generic]


def written(variables: dict[str, Array], aliases: dict[str, str] | None = None) -> bytes:
    """A model.bin as CTranslate2 writes it."""
    kinds = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    out = struct.pack("<I", 6) + text("WhisperSpec") + struct.pack("<II", 3, len(variables))
    for name, value in variables.items():
        shape = struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)
        out += text(name) + shape + struct.pack("<BI", kinds[value.dtype.name], value.nbytes) + value.tobytes()
    out += struct.pack("<I", len(aliases or {}))
    return out + b"".join(text(alias) + text(name) for alias, name in (aliases or {}).items())


def exported(state: dict[str, torch.Tensor]) -> dict[str, Array]:
    """openai-whisper's state under CTranslate2's names: what its converter does, written down once more."""
    half = {name: value.half().numpy() for name, value in state.items()}

    def fused(name: str, parts: tuple[str, ...]) -> dict[str, Array]:
        weights = [half[f"{name}.{part}.weight"] for part in parts]
        zeros = np.zeros(len(weights[0]), np.float16)
        biases = [half.get(f"{name}.{part}.bias", zeros) for part in parts]
        return {"weight": np.concatenate(weights), "bias": np.concatenate(biases)}

    found: dict[str, Array] = {}

    def put(name: str, parts: dict[str, Array]) -> None:
        found.update({f"{name}/{part}": value for part, value in parts.items()})

    def norm(theirs: str, ours: str) -> None:
        put(theirs, {"gamma": half[f"{ours}.weight"], "beta": half[f"{ours}.bias"]})

    for side, layers, last in (("encoder", DIMS.n_audio_layer, "ln_post"), ("decoder", DIMS.n_text_layer, "ln")):
        found[f"{side}/num_heads"] = np.array(2, np.int16)
        found[f"{side}/position_encodings/encodings"] = half[f"{side}.positional_embedding"]
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
        put(f"encoder/conv{number}", {part: half[f"encoder.conv{number}.{part}"] for part in ("weight", "bias")})
    found["decoder/embeddings/weight"] = half["decoder.token_embedding.weight"]
    return found


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """A very small Whisper's."""
    torch.manual_seed(0)
    model = Whisper(DIMS)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return {name: value for name, value in model.state_dict().items() if name != "decoder.mask"}


def test_a_conversion_gives_the_weights_back(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    """All of them, in half precision, with the dimensions; and our network takes them."""
    path = tmp_path / "model.bin"
    path.write_bytes(written(exported(state), {"decoder/projection/weight": "decoder/embeddings/weight"}))
    made = convert(read_variables(path))
    assert made["dims"] == vars(DIMS)
    assert made["model_state_dict"].keys() == state.keys()
    for name, value in state.items():
        assert torch.equal(made["model_state_dict"][name], value.half()), name
    Network(made["model_state_dict"], DIMS, device=torch.device("cpu"), dtype=torch.float32)
    other = {**made["model_state_dict"], "decoder.ln.bias": torch.ones(8)}
    assert state_sha256(made["model_state_dict"]) != state_sha256(other)


def test_eight_bit_weights_are_divided_by_their_scale(state: dict[str, torch.Tensor]) -> None:
    """Row by row."""
    variables = exported(state)
    name = "decoder/layer_0/ffn/linear_0/weight"
    whole = variables[name].astype(np.float32)
    scale = (127 / np.abs(whole).max(axis=1)).astype(np.float32)
    variables |= {name: np.round(whole * scale[:, None]).astype(np.int8), f"{name}_scale": scale}
    found = convert(variables)["model_state_dict"]["decoder.blocks.0.mlp.0.weight"]
    assert np.abs(found.float().numpy() - whole).max() < 0.01


@pytest.mark.parametrize("cut", [3, 30, 5_000, -1])
def test_a_file_that_is_not_whole_is_refused(cut: int, state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    """With a sentence, wherever it ends."""
    path = tmp_path / "model.bin"
    path.write_bytes(written(exported(state))[:cut])
    with pytest.raises(ModelFileError, match="ends at byte"):
        read_variables(path)


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda data: struct.pack("<I", 5) + data[4:], "format 5"),
        (lambda data: data.replace(b"WhisperSpec", b"AnotherSpec"), "AnotherSpec"),
        (lambda data: data + b"more", "4 bytes after"),
        (lambda data: data.replace(struct.pack("<BI", 2, 2), struct.pack("<BI", 9, 2), 1), "type 9"),
        (lambda data: data.replace(struct.pack("<BI", 2, 2), struct.pack("<BI", 2, 2**31), 1), "2147483648 bytes"),
    ],
)
def test_what_does_not_fit_together_is_refused(
    made: "type[bytes]", why: str, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """Another format, a type or a size that cannot be."""
    path = tmp_path / "model.bin"
    path.write_bytes(made(written(exported(state))))
    with pytest.raises(ModelFileError, match=why):
        read_variables(path)


def test_a_missing_variable_is_named(state: dict[str, torch.Tensor]) -> None:
    """In place of a KeyError from the middle."""
    variables = exported(state)
    del variables["decoder/layer_norm/gamma"]
    with pytest.raises(ModelFileError, match="decoder/layer_norm/gamma"):
        convert(variables)
