"""Settings: read once from the environment, checked all together, frozen afterwards.

The only package that reads os.environ. Every field carries its unit, its default and the reason for it; the fields
stand in groups by whom they are for. Used in the parent; a child gets its part as an EngineSettings record.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo

from btworker.config.client import ClientSettings
from btworker.config.delivery import DeliverySettings
from btworker.config.fleet import FleetSettings
from btworker.config.mistakes import explain
from btworker.config.names import strays
from btworker.config.parsing import MIB, MODEL_NAME, TOKEN, names_of, read_tokens, state_folder
from btworker.config.server import ServerSettings
from btworker.config.speech import SpeechSettings
from btworker.config.stores import load_stores
from btworker.config.work import PCM_BYTES_PER_S, WorkSettings
from btworker.errors import EXIT_BAD_SETTINGS, StartupError

__all__ = [
    "MIB",
    "PCM_BYTES_PER_S",
    "ClientSettings",
    "Settings",
    "box_environment",
    "child_environment",
    "data_dir",
    "forget_credentials",
    "load_client_settings",
    "load_settings",
    "unknown_names",
]

MISSING_CREDENTIAL = "WORKER_TOKEN is required (or WORKER_TOKEN_FILE): clients send it as a bearer token"
GROUPS = (ServerSettings, WorkSettings, DeliverySettings, SpeechSettings, FleetSettings)


class Settings(FleetSettings, SpeechSettings, DeliverySettings, WorkSettings, ServerSettings):
    """Everything that an operator can set. Names are environment variables; a megabyte is 2^20 bytes."""

    @field_validator("token", "hf_token")
    @classmethod
    def _printable(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and not TOKEN.fullmatch(token.get_secret_value()):
            raise ValueError("must be 1 to 1024 printable ASCII characters without spaces")
        return token

    @field_validator("data_dir", "tmp_dir", "model_cache", "token_file", "hf_token_file", "diarization_pipeline")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else Path(os.path.abspath(path.expanduser()))

    @field_validator("token_file", "hf_token_file")
    @classmethod
    def _readable(cls, path: Path | None) -> Path | None:
        read_tokens(path)
        return path

    @field_validator("stores_file")
    @classmethod
    def _stores(cls, path: Path | None) -> Path | None:
        load_stores(path)
        return None if path is None else Path(os.path.abspath(path))

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        problems = [] if self.tokens else [MISSING_CREDENTIAL]
        if self.models and self.model not in self.model_paths:
            problems.append(f"WORKER_MODEL={self.model} is not among WORKER_MODELS")
        if self.diarization_device == "cuda" and self.device == "cpu":
            problems.append(
                "DIARIZATION_DEVICE=cuda needs a GPU, and WORKER_DEVICE=cpu uses none; set it to auto or cpu"
            )
        if not MODEL_NAME.fullmatch(self.model):
            problems.append("WORKER_MODEL must be a model's name; serve a file with WORKER_MODELS=name=/path")
        else:
            problems += self.unknown_models()
        problems += self.wrong_aliases()
        if self.wrong_fleet:
            problems.append(self.wrong_fleet)
        if self.fleet_folder is not None and self.fleet_folder.store not in load_stores(self.stores_file):
            problems.append("WORKER_FLEET_STORE names a store that is not in WORKER_STORES_FILE")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def refused_drain_bytes(self) -> int:
        """Bytes of a refused body that are read and dropped."""
        return self.max_file_bytes if self.refused_drain_mb is None else self.refused_drain_mb * MIB


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment (and keyword overrides by field name or variable name).

    Raises StartupError with every mistake in one message; values are never repeated, since one may be a token.
    """
    problems = _slips()
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        problems += explain(error, _fields())
        given = {name for name in ("WORKER_TOKEN", "WORKER_TOKEN_FILE") if os.environ.get(name)} | overrides.keys()
        if not given & {"token", "WORKER_TOKEN", "WORKER_TOKEN_FILE"}:
            problems.append(MISSING_CREDENTIAL)  # pydantic looks at the whole only once every part is right
        raise _wrong(problems) from None
    if problems:
        raise _wrong(problems)
    return settings


def load_client_settings(**overrides: Any) -> ClientSettings:
    """The same for a command that talks to a worker. Raises StartupError."""
    if problems := _slips():
        raise _wrong(problems)
    return ClientSettings(**overrides)


def unknown_names() -> tuple[str, ...]:
    """Variables that begin with WORKER_ and are no settings, nor slips of one; what Kubernetes sets is passed over."""
    return strays(os.environ, _fields()).unknown


def forget_credentials() -> None:
    """Take what only this process needs out of its environment: the children are started with the rest of it."""
    for name in ("WORKER_TOKEN", "WORKER_WEBHOOK_SECRET"):
        os.environ.pop(name, None)


def box_environment() -> dict[str, str]:
    """The environment of a box's process, from that of Ray's: without what is the front end's alone, without the way
    into the cluster, and without the one thread that Ray sets for its own workers."""
    front_end = {"WORKER_TOKEN", "WORKER_STORES_FILE", "WORKER_FLEET_STORE"}
    left_out = front_end | {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "OMP_NUM_THREADS"}
    return {k: v for k, v in os.environ.items() if k not in left_out}


def _slips() -> list[str]:
    return [f"{name} is no setting; {meant} is" for name, meant in strays(os.environ, _fields()).slips]


def _fields() -> dict[str, FieldInfo]:
    """Every setting by each of its names."""
    fields = (field for group in (*GROUPS, ClientSettings) for field in group.model_fields.values())
    return {name: field for field in fields for name in names_of(field)}


def _wrong(problems: list[str]) -> StartupError:
    lines = "\n".join(f"  - {line}" for line in dict.fromkeys(problems))
    return StartupError(f"wrong settings:\n{lines}", exit_code=EXIT_BAD_SETTINGS)


def data_dir(chosen: Path | None = None) -> Path:
    """The data folder alone, for commands to which no other setting matters, be it right or wrong."""
    path = chosen or Path(os.environ.get("WORKER_DATA_DIR") or state_folder())
    return Path(os.path.abspath(path.expanduser()))


def child_environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """A copy of this process's environment without secrets, for programs that we start."""
    secret = {"WORKER_TOKEN", "RAY_AUTH_TOKEN", "HF_TOKEN", "HUGGINGFACE_TOKEN", "WORKER_WEBHOOK_SECRET"}
    return {k: v for k, v in (os.environ if base is None else base).items() if k not in secret}
