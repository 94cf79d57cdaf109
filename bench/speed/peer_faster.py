"""faster-whisper on weights of openai-whisper's names: a CTranslate2 model is written without a download.

Runs in the peers' environment, without torch.
"""

import json
import time
from pathlib import Path
from typing import Any

import ctranslate2
import faster_whisper
import numpy as np
from ctranslate2.specs import common_spec, whisper_spec
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

State = dict[str, Any]


class FasterWhisper:
    """WhisperModel for windows, its BatchedInferencePipeline for files."""

    def __init__(self, request: dict[str, Any]) -> None:
        self._about: dict[str, Any] = json.loads((Path(request["folder"]) / "about.json").read_text())
        folder = Path(request["folder"]) / "ctranslate2"
        if not folder.exists():
            write_model(Path(request["folder"]), folder, half=request["device"] == "cuda")
        self.version = f"{faster_whisper.__version__}, CTranslate2 {ctranslate2.__version__}"
        kind = "float16" if request["device"] == "cuda" else "float32"
        self._model = faster_whisper.WhisperModel(
            str(folder), device=request["device"], compute_type=kind, cpu_threads=request["threads"]
        )

    def windows(self, mels: Any, *, encoded: bool) -> tuple[float, list[list[int]]]:
        """As BatchedInferencePipeline.generate_segment_batched does, greedily."""
        about = self._about
        heard = self._model.encode(mels) if encoded else None
        if heard is not None:
            self._model.model.detect_language(heard)  # on a GPU the encoder is only now certain to be through
        start = time.perf_counter()
        results = self._model.model.generate(
            self._model.encode(mels) if heard is None else heard,
            [about["starts"]] * len(mels),
            beam_size=1,
            max_length=about["n_text_ctx"],
            suppress_blank=True,
            suppress_tokens=about["suppressed"],
            return_scores=True,
            return_no_speech_prob=True,
            max_initial_timestamp_index=50,
        )
        return time.perf_counter() - start, [list(result.sequences_ids[0]) for result in results]

    def files(self, paths: list[str], batch: int) -> tuple[float, list[str]]:
        """Batched, greedy, with word times; the language is found, and speech by its own VAD."""
        pipeline = faster_whisper.BatchedInferencePipeline(self._model)
        start = time.perf_counter()
        texts = []
        for path in paths:
            segments, _ = pipeline.transcribe(path, batch_size=batch, beam_size=1, word_timestamps=True)
            texts.append("".join(segment.text for segment in segments))
        return time.perf_counter() - start, texts


def write_model(source: Path, folder: Path, *, half: bool) -> None:
    """What ct2-transformers-converter makes of a checkpoint, from openai-whisper's own names."""
    about = json.loads((source / "about.json").read_text())
    state = dict(np.load(source / "state.npz"))
    dims = about["dims"]
    spec = whisper_spec.WhisperSpec(
        dims["n_audio_layer"], dims["n_audio_head"], dims["n_text_layer"], dims["n_text_head"]
    )
    for number, conv in ((1, spec.encoder.conv1), (2, spec.encoder.conv2)):
        conv.weight, conv.bias = (state[f"encoder.conv{number}.{part}"] for part in ("weight", "bias"))
    _common(spec.encoder, state, "encoder", "ln_post")
    _common(spec.decoder, state, "decoder", "ln")
    spec.decoder.embeddings.weight = state["decoder.token_embedding.weight"]
    spec.decoder.projection.weight = state["decoder.token_embedding.weight"]
    for key in ("alignment_heads", "lang_ids"):
        setattr(spec.config, key, about[key])
    spec.config.suppress_ids, spec.config.suppress_ids_begin = about["suppressed"], about["suppressed_first"]
    spec.register_vocabulary(about["vocabulary"])
    spec.validate()
    spec.optimize(quantization="float16" if half else None)
    folder.mkdir()
    spec.save(str(folder))
    (folder / "preprocessor_config.json").write_text(json.dumps({"feature_size": dims["n_mels"]}))
    _write_tokenizer(about, folder / "tokenizer.json")


def _common(spec: Any, state: State, name: str, norm: str) -> None:
    spec.position_encodings.encodings = state[f"{name}.positional_embedding"]
    _norm(spec.layer_norm, state, f"{name}.{norm}")
    for index, layer in enumerate(spec.layer):
        block = f"{name}.blocks.{index}"
        _attention(layer.self_attention, state, block, "attn", own=True)
        if name == "decoder":
            _attention(layer.attention, state, block, "cross_attn", own=False)
        _norm(layer.ffn.layer_norm, state, f"{block}.mlp_ln")
        _linear(layer.ffn.linear_0, state, [f"{block}.mlp.0"])
        _linear(layer.ffn.linear_1, state, [f"{block}.mlp.2"])


def _attention(spec: Any, state: State, block: str, name: str, *, own: bool) -> None:
    _norm(spec.layer_norm, state, f"{block}.{name}_ln")
    query, key, value, out = (f"{block}.{name}.{part}" for part in ("query", "key", "value", "out"))
    groups = [[query, key, value], [out]] if own else [[query], [key, value], [out]]
    for linear, names in zip(spec.linear, groups, strict=True):
        _linear(linear, state, names)


def _linear(spec: common_spec.LinearSpec, state: State, names: list[str]) -> None:
    """Several as one; a key has no bias."""
    weights = [state[f"{name}.weight"] for name in names]
    zeros = [np.zeros(len(weight), weight.dtype) for weight in weights]
    spec.weight = np.concatenate(weights)
    spec.bias = np.concatenate([state.get(f"{n}.bias", zero) for n, zero in zip(names, zeros, strict=True)])


def _norm(spec: Any, state: State, name: str) -> None:
    spec.gamma, spec.beta = state[f"{name}.weight"], state[f"{name}.bias"]


def _write_tokenizer(about: dict[str, Any], path: Path) -> None:
    """The vocabulary as a file that faster-whisper reads instead of downloading one."""
    words, signs = about["vocabulary"][: about["words"]], about["vocabulary"][about["words"] :]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [tuple(pair) for pair in about["merges"]]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(sign, special=True) for sign in signs])
    tokenizer.save(str(path))
