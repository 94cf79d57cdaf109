"""Settings of speech: which models and devices the children use."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode

from btworker.checkpoints import HubModel, official_name, official_names
from btworker.checkpoints.hub import HUB
from btworker.config.names import closest
from btworker.config.parsing import (
    ANY_CASE,
    FROM_ENVIRONMENT,
    cache_folder,
    env,
    parse_alias,
    parse_heads,
    parse_model,
    read_tokens,
)

MOST_BONUS = 10.0
"""Of WORKER_KEYWORD_BONUS: from about 5 on, terms are written wherever they begin alike."""
MOST_PROMPT_TOKENS = 200
"""Of WORKER_KEYWORD_PROMPT_TOKENS: a prompt has 223 at most."""
MODEL = "large-v3"
ENGINE = "btworker.engine.engine:load"
LISTS: dict[str, Callable[[str], object]] = {
    "models": parse_model,
    "model_aliases": parse_alias,
    "alignment_heads": parse_heads,
}
"""Comma-separated settings -> how an item of each is read."""


def first_model(given: Mapping[str, Any]) -> str:
    """WORKER_MODEL where nobody sets it, from the settings before it."""
    offered = [name for name, _ in given.get("models", ())]
    return MODEL if MODEL in offered or not offered else offered[0]


class SpeechSettings(BaseSettings):
    """The children's part of Settings."""

    model_config = FROM_ENVIRONMENT

    models: Annotated[tuple[tuple[str, Path | HubModel | None], ...], NoDecode] = Field(
        (), validation_alias=env("WORKER_MODELS")
    )
    """Comma-separated names that a job may ask for; `name=path` serves a checkpoint of yours under that name (a file,
    or a folder as Hugging Face or CTranslate2 write it), `name=hf:owner/name@revision` one from Hugging Face, which is
    downloaded when it is first used, or before by `btworker models fetch`. Default: every official name of the
    installed openai-whisper."""
    model: str = Field(default_factory=first_model, validation_alias=env("WORKER_MODEL"))
    """The model that a job gets when it names none, and that children load at start; where WORKER_MODELS has no
    large-v3, the first one there."""
    model_aliases: Annotated[tuple[tuple[str, str], ...], NoDecode] = Field(
        (), validation_alias=env("WORKER_MODEL_ALIASES")
    )
    """Comma-separated `name=model`: other names for models that are offered, for programs that have a name built in
    (`Systran/faster-whisper-large-v3=large-v3`). OpenAI's own names mean WORKER_MODEL on its routes without this."""
    alignment_heads: Annotated[tuple[tuple[str, str], ...], NoDecode] = Field(
        (), validation_alias=env("WORKER_ALIGNMENT_HEADS")
    )
    """Which attention heads word times come from, for checkpoints where it is not known: comma-separated
    `model=official`, the official model that it was made of, or `model=layer:head layer:head …`."""
    model_cache: Path = Field(default_factory=cache_folder, validation_alias=env("WORKER_MODEL_CACHE"))
    """Where downloaded models lie; openai-whisper's own default, so that both share."""
    offline: bool = Field(False, validation_alias=env("WORKER_OFFLINE"))
    """True: never download; a model that is not in the cache is MODEL_UNAVAILABLE."""
    device: Annotated[Literal["auto", "cuda", "cpu"], ANY_CASE] = Field("auto", validation_alias=env("WORKER_DEVICE"))
    """auto: the GPUs when there are any, else the CPU. A GPU that torch cannot use is an error, never a silent CPU."""
    cpu_threads: int = Field(0, ge=0, le=1024, validation_alias=env("WORKER_CPU_THREADS"))
    """CPU threads of each child; 0 = the machine's cores, divided by the children."""
    decode: Annotated[Literal["fast", "exact"], ANY_CASE] = Field("fast", validation_alias=env("WORKER_DECODE"))
    """How a job is decoded that does not say. fast: independent windows where somebody speaks, many at a time. exact:
    openai-whisper's own loop with its very segments, one window of a recording at a time."""
    batch_size: int = Field(0, ge=0, le=512, validation_alias=env("WORKER_BATCH_SIZE"))
    """Windows of up to 30 s that a child decodes at once; 0 = as many as its memory has room for, at most 128 on a GPU
    and 16 on a CPU. It is halved by itself when a GPU's memory runs out."""
    cuda_graphs: bool = Field(True, validation_alias=env("WORKER_CUDA_GRAPHS"))
    """Steps of decoding are recorded as CUDA graphs when a model is loaded (seconds, and some hundred MB of the GPU).
    False: hundreds of kernels are launched one by one, at about half the speed and with the same texts; for a driver
    that cannot record them, which the log calls `cuda_graphs_off`."""
    triton: bool = Field(True, validation_alias=env("WORKER_TRITON"))
    """Steps of decoding on a GPU are made of Triton kernels, each in place of many of torch's (stack cu130). They need
    a C compiler and Python's headers, and are tried when a model is loaded. False: torch's own kernels, slower and with
    the same texts; `step_kernels_off` in the log and `btworker doctor` say why they are not used."""
    sound_bits: int = Field(16, ge=8, le=16, multiple_of=8, validation_alias=env("WORKER_SOUND_BITS"))
    """Bits of each number of the encoded windows that a step of decoding reads, 16 or 8; on a CPU, which keeps 32
    otherwise, too. 8: half as much to read, which is most of what a step does on a GPU, and half of a place's memory;
    texts may differ from openai-whisper's in some words (docs/benchmarks/engine.md), in `exact` as well."""
    cpu_precision: Annotated[Literal["single", "half"], ANY_CASE] = Field(
        "single", validation_alias=env("WORKER_CPU_PRECISION")
    )
    """What the model's products compute in on a CPU. half: in bfloat16, sooner on processors with instructions for it
    (avx512_bf16 or amx_bf16), without which the model is not loaded; texts may differ from openai-whisper's in some
    words (docs/quality.md), in `exact` as well. A GPU computes in half precision either way."""
    keyword_bonus: float = Field(2.0, ge=0, le=MOST_BONUS, validation_alias=env("WORKER_KEYWORD_BONUS"))
    """What each token of a job's keyword gains while its text is decoded, in the unit of log-probabilities (2 makes it
    7 times as likely); 0 = nothing. docs/quality.md has what it brings, and what more of it costs."""
    keyword_prompt_tokens: int = Field(
        0, ge=0, le=MOST_PROMPT_TOKENS, validation_alias=env("WORKER_KEYWORD_PROMPT_TOKENS")
    )
    """Tokens of the prompt, of at most 223, that a job's keywords take, the first ones first; 0 = none are shown."""
    hf_token: SecretStr | None = Field(None, validation_alias=env("HF_TOKEN", "HUGGINGFACE_TOKEN"))
    """Hugging Face token for gated models (diarization, `btworker models fetch`)."""
    hf_token_file: Path | None = Field(None, validation_alias=env("HF_TOKEN_FILE"))
    """A file that holds the Hugging Face token."""
    hub_url: Annotated[str, AfterValidator(lambda url: url.rstrip("/"))] = Field(
        HUB, pattern=r"^https?://[^/?#@\s]+[^?#\s]*$", validation_alias=env("HF_ENDPOINT")
    )
    """Where `hf:` models are fetched from, for a mirror of Hugging Face. HF_TOKEN goes there, with https alone."""
    diarization_device: Annotated[Literal["auto", "cuda", "cpu"], ANY_CASE] = Field(
        "auto", validation_alias=env("DIARIZATION_DEVICE")
    )
    """Where speakers are told apart; cuda without a GPU is an error."""
    diarization_precision: Annotated[Literal["half", "single"], ANY_CASE] = Field(
        "half", validation_alias=env("DIARIZATION_PRECISION")
    )
    """In what the network of voices computes on a GPU: half is several times faster than single, and taken where the
    voices stay the same, which is tried when it is loaded (`diarization_single_precision` in the log: they do not)."""
    diarization_pipeline: Path | None = Field(None, validation_alias=env("WORKER_DIARIZATION_PIPELINE"))
    """Folder with a pyannote pipeline (config.yaml and the files that it names), for machines without a network.
    Default: the pretrained pipeline from huggingface.co, with HF_TOKEN. A pipeline is code: trust who made it."""
    diarization_block_minutes: float = Field(
        60.0, ge=1, le=1440, validation_alias=env("WORKER_DIARIZATION_BLOCK_MINUTES")
    )
    """Minutes of audio whose speakers are told apart at once; longer recordings are taken in blocks, so that memory
    has a bound."""
    diarization_overlap_s: float = Field(60.0, ge=0, le=600, validation_alias=env("WORKER_DIARIZATION_OVERLAP_SECONDS"))
    """Seconds that two such blocks share; they are cut in its middle."""
    known_speakers: int = Field(20, ge=1, le=50, validation_alias=env("WORKER_KNOWN_SPEAKERS"))
    """Known speakers that a job may name; more voices are more ways to take one for another."""
    reference_min_s: float = Field(2.0, ge=0.5, le=60, validation_alias=env("WORKER_REFERENCE_MIN_SECONDS"))
    """Seconds that the reference of a known speaker has to be long; half of that has to be speech."""
    reference_max_s: float = Field(30.0, ge=1, le=600, validation_alias=env("WORKER_REFERENCE_MAX_SECONDS"))
    """Seconds that it may be long: more speech makes a voice hardly better known."""
    reference_max_mb: int = Field(10, ge=1, le=1024, validation_alias=env("WORKER_REFERENCE_MAX_MB"))
    """MB that it may be large: 30 s of uncompressed studio sound have 9."""
    voice_score: float = Field(0.5, ge=0, le=1, validation_alias=env("WORKER_VOICE_SCORE"))
    """Likeness (cosine of two embeddings) from which on a speaker gets the name of a known one. It depends on the
    pipeline's embedding: docs/diarization.md has what was measured."""
    voice_margin: float = Field(0.05, ge=0, le=1, validation_alias=env("WORKER_VOICE_MARGIN"))
    """By how much every other known voice of the job has to be less like that speaker."""
    voices_limit: int = Field(1000, ge=0, le=100_000, validation_alias=env("WORKER_VOICES_LIMIT"))
    """Voices that each key, and WORKER_TOKEN, may store; each takes 4 KB."""
    cuda_visible_devices: str | None = Field(None, validation_alias=env("CUDA_VISIBLE_DEVICES"))
    """NVIDIA's own variable: which GPUs to use, by index or UUID."""
    engine: str = Field(ENGINE, validation_alias=env("WORKER_ENGINE"))
    """Import string of the engine that children load; tests name a scripted one."""

    @field_validator(*LISTS, mode="before")
    @classmethod
    def _split(cls, raw: object, info: ValidationInfo) -> object:
        if not isinstance(raw, str):
            return raw
        return tuple(LISTS[str(info.field_name)](item.strip()) for item in raw.split(",") if item.strip())

    def unknown_models(self) -> list[str]:
        """A sentence for each name without a checkpoint of the operator's behind it that openai-whisper does not know;
        none where that is not installed, or another engine knows names of its own."""
        known = official_names()
        if not known or self.engine != ENGINE:
            return []
        names = [name for name, path in self.models if path is None] if self.models else [self.model]
        return [_unknown_model(name, known) for name in names if name not in known]

    @property
    def reference_max_bytes(self) -> int:
        """WORKER_REFERENCE_MAX_MB in bytes."""
        return self.reference_max_mb * 2**20

    @property
    def huggingface_token(self) -> str | None:
        """The token for gated models, from the environment or its file."""
        if self.hf_token:
            return self.hf_token.get_secret_value()
        return next(iter(read_tokens(self.hf_token_file)), None)

    @property
    def aliases(self) -> dict[str, str]:
        """Other names of models: name -> model."""
        return dict(self.model_aliases)

    def model_called(self, name: str) -> str:
        """The model that a request means by a name: the operator's other name of it, or other people's of OpenAI's. A
        name that means none stays as it is."""
        if name in self.model_paths or name in self.aliases:
            return self.aliases.get(name, name)
        official = official_name(name)
        return official if official in self.model_paths and official is not None else name

    def wrong_aliases(self) -> list[str]:
        """A sentence for each other name whose model is not offered, or that is a model's already."""
        offered = self.model_paths
        if not offered:
            return []
        missing = [
            f"{name}={model}: the model {model} is not offered"
            for name, model in self.model_aliases
            if model not in offered
        ]
        taken = [f"{name} is the name of a model" for name in self.aliases if name in offered]
        return [f"WORKER_MODEL_ALIASES: {sentence}" for sentence in missing + taken]

    @property
    def model_paths(self) -> dict[str, Path | None]:
        """Every name that a job may ask for, and the operator's checkpoint behind it (None: an official model)."""
        if self.models:
            cache = self.model_cache
            return {name: one.folder(cache) if isinstance(one, HubModel) else one for name, one in self.models}
        return dict.fromkeys(official_names())

    @property
    def hub_models(self) -> tuple[tuple[str, HubModel], ...]:
        """Names of models from Hugging Face's hub, and their repositories."""
        return tuple((name, one) for name, one in self.models if isinstance(one, HubModel))


def _unknown_model(name: str, known: tuple[str, ...]) -> str:
    meant = closest(name, known)
    hint = f"; did you mean {meant}?" if meant else f": it knows {', '.join(known)}"
    return f"the installed openai-whisper knows no model {name}{hint}"
