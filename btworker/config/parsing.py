"""What the groups of settings share: variable names, tokens, model names, folders."""

import os
import re
from pathlib import Path
from typing import Any

from pydantic import AliasChoices
from pydantic_settings import SettingsConfigDict

MIB = 2**20
FROM_ENVIRONMENT = SettingsConfigDict(
    frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True, populate_by_name=True
)
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
TOKEN = re.compile(r"[\x21-\x7e]{1,1024}")


def state_folder() -> Path:
    """The user's state folder by the XDG base directory specification."""
    base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(base).expanduser() / "btworker"


def cache_folder() -> Path:
    """Where openai-whisper keeps downloaded models."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "whisper"


def env(name: str, *more: str) -> Any:
    """The variable that sets a field, and other names for it."""
    return AliasChoices(name, *more)


def parse_model(item: str) -> tuple[str, Path | None]:
    """`name` or `name=path`."""
    name, _, path = item.partition("=")
    if not MODEL_NAME.fullmatch(name):
        raise ValueError(f"{name[:64]!r} is no model name (letters, digits, '.', '_' and '-')")
    return name, Path(os.path.abspath(Path(path).expanduser())) if path else None


def read_tokens(path: Path | None) -> tuple[str, ...]:
    """The tokens in a file, one a line. Raises ValueError when it cannot be read."""
    if path is None:
        return ()
    try:
        lines = path.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as a token file: {type(error).__name__}") from None
    if any(not TOKEN.fullmatch(line) for line in lines):
        raise ValueError(f"{path}: a token must be 1 to 1024 printable ASCII characters")
    return tuple(lines)
