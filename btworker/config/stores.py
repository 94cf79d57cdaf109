"""The operator's file of stores (WORKER_STORES_FILE): which buckets there are, with which credentials, and for whom.

    [archive]
    endpoint = "https://minio.internal:9000"
    access_key_id = "…"
    secret_access_key_file = "/etc/btworker/archive.secret"
    read = ["recordings/calls/"]
    write = ["results"]
    keys = ["ann", "night-shift"]

A request names a store and never an endpoint or a credential. Parent, and `btworker doctor`.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from btworker.locations import BUCKET_NAME, STORE_NAME, S3Object, S3Prefix, folder_like, is_prefix

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EVERY_KEY = "*"
_PLACES = "a list of buckets, or of folders in them: recordings, recordings/calls/"


class StoreSettings(BaseModel):
    """One store, by the names in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    endpoint: str = Field(pattern=r"^https?://[^/?#@\s]+/?$")
    region: str = Field("us-east-1", pattern=r"^[A-Za-z0-9-]{1,64}$")
    virtual_hosted: bool = False
    """The bucket stands in the host name, as AWS wants it; else in the path, as most others do."""
    access_key_id: SecretStr = Field(min_length=1)
    secret_access_key: SecretStr | None = Field(None, min_length=1)
    secret_access_key_file: Path | None = None
    ca_file: Path | None = None
    """PEM of an authority that the system does not know."""
    read: tuple[str, ...] = ()
    """Buckets, or folders in them, whose objects may be inputs."""
    write: tuple[str, ...] = ()
    """The same, for outputs."""
    keys: tuple[str, ...] = ()
    """Names of the keys that may use it beside the operator; EVERY_KEY: all."""

    @field_validator("read", "write")
    @classmethod
    def _places(cls, places: tuple[str, ...]) -> tuple[str, ...]:
        for place in places:
            bucket, _, folder = place.partition("/")
            if not BUCKET_NAME.fullmatch(bucket) or not is_prefix(folder):
                raise ValueError(f"must be {_PLACES}")
        return places

    @model_validator(mode="after")
    def _one_secret(self) -> "StoreSettings":
        if (self.secret_access_key is None) == (self.secret_access_key_file is None):
            raise ValueError("needs secret_access_key or secret_access_key_file, and not both")
        read_text(self.secret_access_key_file)
        read_text(self.ca_file)
        return self

    @property
    def secret(self) -> str:
        """The secret access key. Raises ValueError where its file cannot be read any more."""
        if self.secret_access_key is not None:
            return self.secret_access_key.get_secret_value()
        return read_text(self.secret_access_key_file).strip()

    @property
    def buckets(self) -> tuple[str, ...]:
        """Every bucket that is open, once."""
        return tuple(dict.fromkeys(place.partition("/")[0] for place in (*self.read, *self.write)))

    def is_for(self, key_name: str) -> bool:
        """Whether the key of this name may use it."""
        return EVERY_KEY in self.keys or key_name in self.keys

    def may_read(self, item: S3Object) -> bool:
        """Whether this object may be an input."""
        return _is_below(self.read, item.bucket, item.key)

    def may_write(self, folder: S3Prefix) -> bool:
        """Whether outputs may go into this folder."""
        return _is_below(self.write, folder.bucket, folder_like(folder.prefix))


Stores = Mapping[str, StoreSettings]


def _is_below(places: Sequence[str], bucket: str, path: str) -> bool:
    allowed = [place.partition("/") for place in places]
    return any(bucket == name and path.startswith(folder_like(folder)) for name, _, folder in allowed)


def read_text(path: Path | None) -> str:
    """What is in a file; nothing where none is named. Raises ValueError."""
    try:
        return "" if path is None else path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text in UTF-8") from None


def load_stores(path: Path | None) -> Stores:
    """The stores of a file, by name. Raises ValueError with the first mistake; no value of it is repeated."""
    try:
        tables: dict[str, Any] = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is no TOML: {error}") from None
    return {name: _store(path, name, table) for name, table in tables.items()}


def _store(path: Path | None, name: str, table: object) -> StoreSettings:
    if not STORE_NAME.fullmatch(name):
        raise ValueError(f"{path}: {name[:64]!r} is no name of a store (letters, digits, _ and -)")
    try:
        return StoreSettings.model_validate(table)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in (name, *first["loc"]))
        raise ValueError(f"{path}: {where}: {first['msg'].removeprefix('Value error, ')}") from None
