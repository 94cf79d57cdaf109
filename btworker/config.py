"""Settings: read once from the environment, checked all together, frozen afterwards.

The only module that reads os.environ. Every field carries its unit, its default and the reason for it. Used in the
parent; a child gets the part that it needs as an EngineSettings record.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from btworker.checkpoints import official_names
from btworker.errors import EXIT_BAD_SETTINGS, StartupError

MIB = 2**20
PCM_BYTES_PER_S = 32_000
"""Decoded audio: 16,000 samples of 2 bytes a second, 115 MB an hour."""
MISSING_CREDENTIAL = "WORKER_TOKEN is required (or WORKER_TOKEN_FILE): clients send it as a bearer token"
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOKEN = re.compile(r"[\x21-\x7e]{1,1024}")


def _state_folder() -> Path:
    """The user's state folder by the XDG base directory specification."""
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "btworker"


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "whisper"


def _env(name: str, *more: str) -> Any:
    return AliasChoices(name, *more)


class Settings(BaseSettings):
    """Everything that an operator can set. Names are environment variables; a megabyte is 2^20 bytes."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True, populate_by_name=True
    )

    token: SecretStr | None = Field(None, validation_alias=_env("WORKER_TOKEN"))
    """The bearer token that clients send. Required (or WORKER_TOKEN_FILE): an open transcription box is never meant."""
    token_file: Path | None = Field(None, validation_alias=_env("WORKER_TOKEN_FILE"))
    """A file with one token a line, for rotation; the first is the one sent to controllers."""
    host: str = Field("127.0.0.1", validation_alias=_env("WORKER_HOST"))
    """Address to listen on. Loopback unless told otherwise; the image sets 0.0.0.0."""
    port: int = Field(8477, ge=0, le=65535, validation_alias=_env("WORKER_PORT"))
    """TCP port; 0 takes a free one and prints it."""
    data_dir: Path = Field(default_factory=_state_folder, validation_alias=_env("WORKER_DATA_DIR"))
    """Database, uploads and results. A local file system: SQLite's WAL does not work on network ones."""
    tmp_dir: Path | None = Field(None, validation_alias=_env("WORKER_TMP_DIR"))
    """Scratch files (decoded audio: 115 MB an hour); for this worker alone. Default: inside the data folder."""
    model: str = Field("large-v3", validation_alias=_env("WORKER_MODEL"))
    """The model that a job gets when it names none, and that children load at start."""
    models: Annotated[tuple[tuple[str, Path | None], ...], NoDecode] = Field((), validation_alias=_env("WORKER_MODELS"))
    """Comma-separated names that a job may ask for; `name=path` serves a checkpoint of yours under that name.
    Default: every official name of the installed openai-whisper."""
    model_cache: Path = Field(default_factory=_cache_folder, validation_alias=_env("WORKER_MODEL_CACHE"))
    """Where downloaded models lie; openai-whisper's own default, so that both share."""
    offline: bool = Field(False, validation_alias=_env("WORKER_OFFLINE"))
    """True: never download; a model that is not in the cache is MODEL_UNAVAILABLE."""
    device: Literal["auto", "cuda", "cpu"] = Field("auto", validation_alias=_env("WORKER_DEVICE"))
    """auto: the GPUs when there are any, else the CPU. A GPU that torch cannot use is an error, never a silent CPU."""
    cpu_threads: int = Field(0, ge=0, le=1024, validation_alias=_env("WORKER_CPU_THREADS"))
    """CPU threads of each child; 0 = the machine's cores, divided by the children."""
    max_concurrent_jobs: Annotated[
        int | Literal["auto"], Field(validation_alias=_env("WORKER_MAX_CONCURRENT_JOBS"))
    ] = 1
    """Jobs at work at once over all GPUs (slots); `auto` = one per GPU. 1 to 64: each holds a model in memory."""
    max_file_mb: int = Field(2000, ge=1, le=2**23, validation_alias=_env("WORKER_MAX_FILE_MB"))
    """Largest single input in MB."""
    max_files_per_job: int = Field(100, ge=1, le=10_000, validation_alias=_env("WORKER_MAX_FILES_PER_JOB"))
    """File parts in one upload; bounds the work behind one id."""
    max_audio_hours: float = Field(12.0, gt=0, le=1000, validation_alias=_env("WORKER_MAX_AUDIO_HOURS"))
    """Hours of decoded audio per input, counted while decoding: a small file can hold a week of silence."""
    max_attempts: int = Field(2, ge=1, le=10, validation_alias=_env("WORKER_MAX_ATTEMPTS"))
    """Starts that a job gets before it is failed with WORKER_CRASHED; a poison job must end."""
    load_timeout_s: float = Field(3600.0, gt=0, le=86_400, validation_alias=_env("WORKER_LOAD_TIMEOUT_SECONDS"))
    """Seconds that a child gets to load a model before it counts as hung; 3 GB at 1 MB/s take 50 minutes."""
    decode_stall_s: float = Field(120.0, gt=0, le=86_400, validation_alias=_env("WORKER_DECODE_STALL_SECONDS"))
    """Seconds without a sample from ffmpeg after which a job fails with TIMEOUT."""
    window_timeout_s: float = Field(0.0, ge=0, le=86_400, validation_alias=_env("WORKER_WINDOW_TIMEOUT_SECONDS"))
    """Seconds that 30 s of audio may take before the child counts as hung; 0 = 600 on a GPU, 3600 on the CPU."""
    recycle_jobs: int = Field(1000, ge=0, validation_alias=_env("WORKER_RECYCLE_JOBS"))
    """Jobs after which a child gives way to a fresh one; only a new process gives all memory back. 0 = never."""
    recycle_growth_mb: int = Field(4096, ge=0, validation_alias=_env("WORKER_RECYCLE_GROWTH_MB"))
    """MB that a child may grow after its start before the same happens. 0 = never."""
    quarantine_minutes: float = Field(30.0, ge=0.01, le=10_080, validation_alias=_env("WORKER_QUARANTINE_MINUTES"))
    """Minutes that a GPU is left alone after it failed three different jobs in a row."""
    queue_limit: int = Field(1000, ge=1, le=100_000, validation_alias=_env("WORKER_QUEUE_LIMIT"))
    """Jobs waiting at once; more get 429 QUEUE_FULL with Retry-After."""
    drain_s: float = Field(30.0, ge=0, le=86_400, validation_alias=_env("WORKER_DRAIN_SECONDS"))
    """Seconds that running jobs get after SIGTERM; what is not done then goes back to the queue."""
    disk_reserve_mb: int = Field(1024, ge=0, validation_alias=_env("WORKER_DISK_RESERVE_MB"))
    """MB that stay free on the data disk; uploads that would go below are refused with DISK_FULL."""
    decoded_factor: float = Field(8.0, ge=0, le=1000, validation_alias=_env("WORKER_DECODED_FACTOR"))
    """Bytes of decoded audio to expect for each byte of an upload, when its room is looked for: 8 is a recording at
    32 kbit/s, and WORKER_MAX_AUDIO_HOURS are the most. An upload that could then not be decoded is refused."""
    retention_hours: float = Field(72.0, gt=0, validation_alias=_env("WORKER_RETENTION_HOURS"))
    """Hours that a finished job's results are kept."""
    keep_inputs: bool = Field(False, validation_alias=_env("WORKER_KEEP_INPUTS"))
    """False: inputs are deleted when their job ends, since nobody reads them again."""
    header_timeout_s: float = Field(30.0, gt=0, le=3600, validation_alias=_env("WORKER_HEADER_TIMEOUT_SECONDS"))
    """Seconds a client has to send a request's headers; slow-loris protection."""
    body_idle_s: float = Field(60.0, gt=0, le=3600, validation_alias=_env("WORKER_BODY_IDLE_SECONDS"))
    """Seconds without a byte after which an upload is given up with IDLE_TIMEOUT."""
    file_threads: int = Field(8, ge=1, le=64, validation_alias=_env("WORKER_FILE_THREADS"))
    """Threads for file work: enough to keep a few disks busy, few enough that a stuck disk costs little."""
    upload_chunk_kb: int = Field(1024, ge=16, le=16_384, validation_alias=_env("WORKER_UPLOAD_CHUNK_KB"))
    """KiB gathered before each write to disk; large writes keep the thread hops few."""
    ping_public: bool = Field(False, validation_alias=_env("WORKER_PING_PUBLIC"))
    """True: /v1/ping needs no token."""
    metrics_public: bool = Field(True, validation_alias=_env("WORKER_METRICS_PUBLIC"))
    """False: /metrics needs the token."""
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", validation_alias=_env("WORKER_LOG_LEVEL"))
    """Least severe level that is logged."""
    log_format: Literal["auto", "json", "text"] = Field("auto", validation_alias=_env("WORKER_LOG_FORMAT"))
    """auto: text on a terminal, else JSON lines."""
    log_progress: bool = Field(False, validation_alias=_env("WORKER_LOG_PROGRESS"))
    """True: progress of each window is logged."""
    hf_token: SecretStr | None = Field(None, validation_alias=_env("HF_TOKEN", "HUGGINGFACE_TOKEN"))
    """Hugging Face token for gated models (diarization)."""
    hf_token_file: Path | None = Field(None, validation_alias=_env("HF_TOKEN_FILE"))
    """A file that holds the Hugging Face token."""
    diarization_device: Literal["auto", "cuda", "cpu"] = Field("auto", validation_alias=_env("DIARIZATION_DEVICE"))
    """Where diarization runs; cuda without a GPU is an error."""
    build_commit: str = Field("unknown", validation_alias=_env("BUILD_COMMIT"))
    """The commit that this image was built from; ping shows it."""
    build_time: str = Field("unknown", validation_alias=_env("BUILD_TIME"))
    """When this image was built; ping shows it."""
    image_digest: str | None = Field(None, validation_alias=_env("IMAGE_DIGEST"))
    """The image's digest, as the operator declares it; ping shows it."""
    worker_version: str | None = Field(None, validation_alias=_env("WORKER_VERSION"))
    """Deprecated and without effect: ping warns when it is set."""
    cuda_visible_devices: str | None = Field(None, validation_alias=_env("CUDA_VISIBLE_DEVICES"))
    """NVIDIA's own variable: which GPUs to use, by index or UUID."""
    engine: str = Field("btworker.engine.pipeline:load", validation_alias=_env("WORKER_ENGINE"))
    """Import string of the engine that children load; tests name a scripted one."""

    @field_validator("models", mode="before")
    @classmethod
    def _split_models(cls, raw: object) -> object:
        if not isinstance(raw, str):
            return raw
        return tuple(_parse_model(item.strip()) for item in raw.split(",") if item.strip())

    @field_validator("max_concurrent_jobs", mode="before")
    @classmethod
    def _whole_or_auto(cls, raw: object) -> object:
        text = str(raw).strip().lower()
        if text == "auto":
            return "auto"
        if not text.isdecimal() or not 1 <= int(text) <= 64:
            raise ValueError("must be a whole number from 1 to 64, or auto")
        return int(text)

    @field_validator("token", "hf_token")
    @classmethod
    def _printable(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and not _TOKEN.fullmatch(token.get_secret_value()):
            raise ValueError("must be 1 to 1024 printable ASCII characters without spaces")
        return token

    @field_validator("data_dir", "tmp_dir", "model_cache", "token_file", "hf_token_file")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else Path(os.path.abspath(path.expanduser()))

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        problems = [] if self.tokens else [MISSING_CREDENTIAL]
        if self.models and self.model not in self.model_paths:
            problems.append(f"WORKER_MODEL={self.model} is not among WORKER_MODELS")
        if not _MODEL_NAME.fullmatch(self.model):
            problems.append("WORKER_MODEL must be a model's name; serve a file with WORKER_MODELS=name=/path")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def tokens(self) -> tuple[str, ...]:
        """The accepted bearer tokens, the first one first."""
        own = (self.token.get_secret_value(),) if self.token else ()
        return tuple(dict.fromkeys((*own, *_read_tokens(self.token_file))))

    @property
    def huggingface_token(self) -> str | None:
        """The token for gated models, from the environment or its file."""
        if self.hf_token:
            return self.hf_token.get_secret_value()
        return next(iter(_read_tokens(self.hf_token_file)), None)

    @property
    def model_paths(self) -> dict[str, Path | None]:
        """Every name that a job may ask for, and the operator's checkpoint behind it (None: an official model)."""
        if self.models:
            return dict(self.models)
        return dict.fromkeys(official_names())

    @property
    def scratch_dir(self) -> Path:
        """Where decoded audio goes."""
        return self.tmp_dir or self.data_dir / "scratch"

    @property
    def max_file_bytes(self) -> int:
        """WORKER_MAX_FILE_MB in bytes."""
        return self.max_file_mb * MIB

    @property
    def disk_reserve_bytes(self) -> int:
        """WORKER_DISK_RESERVE_MB in bytes."""
        return self.disk_reserve_mb * MIB

    def decoded_bytes(self, size_bytes: int) -> int:
        """Room that the sound of an input of this size is expected to take while its job runs. An estimate: how long
        a recording is, is known only once it is decoded."""
        return int(min(size_bytes * self.decoded_factor, self.max_audio_hours * 3600 * PCM_BYTES_PER_S))


class ClientSettings(BaseSettings):
    """Where the command line finds a worker; each is also an option of every command that needs one."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True)

    url: str | None = Field(None, validation_alias=_env("WORKER_URL"))
    """The worker's address, like http://gpu-box:8477."""
    token: SecretStr | None = Field(None, validation_alias=_env("WORKER_TOKEN"))
    """The worker's bearer token."""
    token_file: Path | None = Field(None, validation_alias=_env("WORKER_TOKEN_FILE"))
    """A file whose first word is the token."""

    @property
    def first_token(self) -> str | None:
        """The token to send. Raises ValueError when the token file cannot be read."""
        if self.token:
            return self.token.get_secret_value()
        return next(iter(_read_tokens(self.token_file)), None)


def _parse_model(item: str) -> tuple[str, Path | None]:
    name, _, path = item.partition("=")
    if not _MODEL_NAME.fullmatch(name):
        raise ValueError(f"{name[:64]!r} is no model name (letters, digits, '.', '_' and '-')")
    return name, Path(os.path.abspath(Path(path).expanduser())) if path else None


def _read_tokens(path: Path | None) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        lines = path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as a token file: {type(error).__name__}") from None
    if any(not _TOKEN.fullmatch(line) for line in lines):
        raise ValueError(f"{path}: a token must be 1 to 1024 printable ASCII characters")
    return tuple(lines)


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment (and keyword overrides by field name or variable name).

    Raises StartupError with every mistake in one message; values are never repeated, since one may be a token.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = _explain(error)
        if not any(os.environ.get(name) for name in ("WORKER_TOKEN", "WORKER_TOKEN_FILE")) and "token" not in overrides:
            lines.append(MISSING_CREDENTIAL)  # pydantic looks at the whole only once every part is right
        message = "wrong settings:\n" + "\n".join(f"  - {line}" for line in dict.fromkeys(lines))
        raise StartupError(message, exit_code=EXIT_BAD_SETTINGS) from None


def _explain(error: ValidationError) -> list[str]:
    lines = []
    for item in error.errors(include_input=False, include_url=False, include_context=False):
        where = str(item["loc"][0]) if item["loc"] else ""
        message = item["msg"].removeprefix("Value error, ")
        lines.append(f"{where}: {message}" if where else message)
    return lines


def child_environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """A copy of this process's environment without secrets, for programs that we start."""
    secret = {"WORKER_TOKEN", "HF_TOKEN", "HUGGINGFACE_TOKEN", "WORKER_WEBHOOK_SECRET"}
    return {k: v for k, v in (os.environ if base is None else base).items() if k not in secret}
