"""What the groups of settings share: variable names, tokens, model names, folders."""

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import AliasChoices, BeforeValidator
from pydantic.fields import FieldInfo
from pydantic_settings import SettingsConfigDict

from btworker.checkpoints import HubModel, official_names

MIB = 2**20
FROM_ENVIRONMENT = SettingsConfigDict(
    frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True, populate_by_name=True
)
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,63}")
HEADS = re.compile(r"\d{1,3}:\d{1,3}( \d{1,3}:\d{1,3})*")
HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,62}))*\.?")
TOKEN = re.compile(r"[\x21-\x7e]{1,1024}")


def lower_case(raw: object) -> object:
    """A word in any case as it is written here."""
    return raw.strip().lower() if isinstance(raw, str) else raw


ANY_CASE = BeforeValidator(lower_case)
"""For settings that take one of a few words."""


def state_folder() -> Path:
    """The user's state folder by the XDG base directory specification."""
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "btworker"


def cache_folder(name: str = "whisper") -> Path:
    """The user's cache of that name; openai-whisper keeps downloaded models in the one of its own."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / name


def env(name: str, *more: str) -> Any:
    """The variable that sets a field, and other names for it."""
    return AliasChoices(name, *more)


def names_of(field: FieldInfo) -> tuple[str, ...]:
    """The variables that set a field."""
    choices = field.validation_alias
    return tuple(map(str, choices.choices)) if isinstance(choices, AliasChoices) else ()


def parse_model(item: str) -> tuple[str, Path | HubModel | None]:
    """`name`, `name=path` or `name=hf:owner/name@revision`."""
    name, _, path = item.partition("=")
    if not MODEL_NAME.fullmatch(name):
        raise ValueError(f"{name[:64]!r} is no model name (letters, digits, '.', '_' and '-')")
    if path.startswith("hf:"):
        return name, HubModel.parse(path)
    return name, Path(os.path.abspath(Path(path).expanduser())) if path else None


def parse_alias(item: str) -> tuple[str, str]:
    """`name=model`; the name as other programs write it, with a slash in it or a colon."""
    name, _, model = item.partition("=")
    if not ALIAS.fullmatch(name) or not MODEL_NAME.fullmatch(model):
        raise ValueError(f"{item[:64]!r} is not name=model")
    return name, model


def parse_heads(item: str) -> tuple[str, str]:
    """`name=layer:head layer:head`, or `name=` an official model's name."""
    name, _, heads = item.partition("=")
    heads = " ".join(heads.split())
    if not MODEL_NAME.fullmatch(name) or not (HEADS.fullmatch(heads) or heads in official_names()):
        raise ValueError(f"{item[:64]!r} is neither model=layer:head layer:head … nor model=official model")
    return name, heads


def read_tokens(path: Path | None) -> tuple[str, ...]:
    """The tokens in a file, one a line. Raises ValueError when it cannot be read."""
    if path is None:
        return ()
    try:
        lines = path.read_text(encoding="ascii").split()
    except OSError as error:
        raise ValueError(f"{path.absolute()} cannot be read: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path.absolute()} cannot be read: a token is printable ASCII") from None
    if any(not TOKEN.fullmatch(line) for line in lines):
        raise ValueError(f"{path}: a token must be 1 to 1024 printable ASCII characters")
    return tuple(lines)


@dataclass(frozen=True, slots=True)
class HostPort:
    """A host as URLs name it, in lower case, and a port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "HostPort":
        """`controller:8476`, `10.0.0.5:80`, `[fd00::5]:8476`. Raises ValueError."""
        host, colon, port = text.strip().rpartition(":")
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if not colon or not port.isdecimal() or not 1 <= int(port) <= 65535 or (":" in bare) != (bare != host):
            raise ValueError(f"{text[:100]!r} is no host:port (such as controller:8476 or [fd00::5]:8476)")
        if not (is_address(bare) or HOST_NAME.fullmatch(bare)):
            raise ValueError(f"{text[:100]!r} has no host that a URL could name")
        return cls(normal_host(bare), int(port))


def normal_host(host: str) -> str:
    """One spelling for each host."""
    if is_address(host):
        return str(ipaddress.ip_address(host))
    return host.lower().rstrip(".")


def is_address(text: str) -> bool:
    """An IPv4 address of four decimal parts, or an IPv6 address without brackets."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
