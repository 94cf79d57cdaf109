"""transformers on weights of openai-whisper's names. Runs in the peers' environment, with the stack's torch."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import WhisperConfig, WhisperForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

RENAMED = (
    (".blocks.", ".layers."), (".cross_attn_ln", ".encoder_attn_layer_norm"), (".attn_ln", ".self_attn_layer_norm"),
    (".cross_attn.", ".encoder_attn."), (".attn.", ".self_attn."), (".query.", ".q_proj."), (".key.", ".k_proj."),
    (".value.", ".v_proj."), (".out.", ".out_proj."), (".mlp.0.", ".fc1."), (".mlp.2.", ".fc2."),
    (".mlp_ln", ".final_layer_norm"), ("encoder.ln_post", "encoder.layer_norm"), ("decoder.ln.", "decoder.layer_norm."),
    ("token_embedding", "embed_tokens"), ("positional_embedding", "embed_positions.weight"),
)  # fmt: skip


class Transformers:
    """WhisperForConditionalGeneration.generate, greedy, with timestamps."""

    def __init__(self, request: dict[str, Any]) -> None:
        folder = Path(request["folder"])
        about = json.loads((folder / "about.json").read_text())
        torch.set_num_threads(request["threads"])
        self.version = transformers.__version__
        self._device = torch.device(request["device"])
        self._model = WhisperForConditionalGeneration(_config(about["dims"], about)).eval()
        state = {_renamed(name): torch.from_numpy(array) for name, array in np.load(folder / "state.npz").items()}
        state["proj_out.weight"] = state["model.decoder.embed_tokens.weight"]
        self._model.load_state_dict(state)
        self._dtype = torch.float16 if self._device.type == "cuda" else torch.float32
        self._model.to(self._device, self._dtype)
        self._eot, self._starts = about["eot"], about["starts"]
        _teach(self._model.generation_config, about)

    @torch.inference_mode()
    def windows(self, mels: Any, *, encoded: bool) -> tuple[float, list[list[int]]]:
        """One batch, tokens after the signs up to the end of text."""
        sound = torch.from_numpy(mels).to(self._device, self._dtype)
        more: dict[str, Any] = {"input_features": sound}
        if encoded:
            heard = self._model.model.encoder(sound).last_hidden_state
            more["encoder_outputs"] = BaseModelOutput(last_hidden_state=heard)
        self._wait()
        start = time.perf_counter()
        said = self._model.generate(
            **more,
            language="en",
            task="transcribe",
            return_timestamps=True,
            num_beams=1,
            do_sample=False,
            # one pass over the window, as the others make; else what follows the last timestamp is heard again
            force_unique_generate_call=True,
        )
        self._wait()
        return time.perf_counter() - start, [self._text(row) for row in said.tolist()]

    def files(self, paths: list[str], batch: int) -> tuple[float, list[str]]:
        """Not compared: its long form has no counterpart of word times in batches."""
        raise NotImplementedError

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize()

    def _text(self, row: list[int]) -> list[int]:
        """What follows the signs, which releases give back or not, up to the end of text."""
        text = row[len(self._starts) :] if row[: len(self._starts)] == self._starts else row
        return text[: text.index(self._eot)] if self._eot in text else text


def _config(dims: dict[str, int], about: dict[str, Any]) -> WhisperConfig:
    return WhisperConfig(
        vocab_size=dims["n_vocab"],
        num_mel_bins=dims["n_mels"],
        encoder_layers=dims["n_audio_layer"],
        encoder_attention_heads=dims["n_audio_head"],
        decoder_layers=dims["n_text_layer"],
        decoder_attention_heads=dims["n_text_head"],
        encoder_ffn_dim=4 * dims["n_audio_state"],
        decoder_ffn_dim=4 * dims["n_text_state"],
        d_model=dims["n_text_state"],
        max_source_positions=dims["n_audio_ctx"],
        max_target_positions=dims["n_text_ctx"],
        decoder_start_token_id=about["starts"][0],
        pad_token_id=about["eot"],
        bos_token_id=about["eot"],
        eos_token_id=about["eot"],
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )


def _teach(config: Any, about: dict[str, Any]) -> None:
    """What a published checkpoint's generation_config.json says."""
    sot, language, task = about["starts"]
    config.is_multilingual = True
    config.lang_to_id = {"<|en|>": language}
    config.task_to_id = {"transcribe": task}
    config.no_timestamps_token_id = about["no_timestamps"]
    config.max_initial_timestamp_index = 50
    config.decoder_start_token_id = sot
    config.eos_token_id = config.pad_token_id = config.bos_token_id = about["eot"]
    config.suppress_tokens = about["suppressed"]
    config.begin_suppress_tokens = about["suppressed_first"]
    config.max_length = about["n_text_ctx"]
    config.alignment_heads = about["alignment_heads"]
    config.prev_sot_token_id = about["sot_prev"]


def _renamed(name: str) -> str:
    for old, new in RENAMED:
        name = name.replace(old, new)
    return f"model.{name}"
