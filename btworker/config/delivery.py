"""Settings of what the worker asks of others: inputs fetched by URL, outputs pushed, callbacks."""

import base64
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode

from btworker.config.parsing import FROM_ENVIRONMENT, HostPort, env


class DeliverySettings(BaseSettings):
    """The delivery's part of Settings."""

    model_config = FROM_ENVIRONMENT

    allowed_hosts: Annotated[tuple[HostPort, ...], NoDecode, Field(validation_alias=env("WORKER_ALLOWED_HOSTS"))] = ()
    """Private hosts that the worker may connect to when a job names them, as host:port with commas between: the
    controller's own. Everything else that is not on the public internet is refused."""
    stores_file: Path | None = Field(None, validation_alias=env("WORKER_STORES_FILE"))
    """A TOML file of the S3 stores whose buckets jobs may name for inputs and outputs: endpoints, credentials, folders
    and keys (docs/inputs.md). Read once, at start."""
    webhook_secret: SecretStr | None = Field(None, validation_alias=env("WORKER_WEBHOOK_SECRET"))
    """Signs the callbacks of uploads (Standard Webhooks): whsec_ and the base64 of 24 to 64 bytes."""
    downloads: int = Field(4, ge=1, le=64, validation_alias=env("WORKER_DOWNLOADS"))
    """Inputs fetched at once over all jobs, those of one key after the other; a few fill any line, and each holds one
    connection and 5 MB of buffers."""
    download_idle_s: float = Field(60.0, gt=0, le=3600, validation_alias=env("WORKER_DOWNLOAD_IDLE_SECONDS"))
    """Seconds without a byte after which a download is broken off and resumed."""
    download_retry_s: float = Field(3600.0, ge=0, le=86_400, validation_alias=env("WORKER_DOWNLOAD_RETRY_SECONDS"))
    """Seconds for which a failing download is tried again; a controller's URLs are good for two hours."""
    delivery_timeout_s: float = Field(60.0, gt=0, le=3600, validation_alias=env("WORKER_DELIVERY_TIMEOUT_SECONDS"))
    """Seconds without progress after which a push of an output or a callback counts as failed."""
    delivery_hours: float = Field(24.0, gt=0, le=720, validation_alias=env("WORKER_DELIVERY_HOURS"))
    """Hours for which outputs and callbacks are tried again before the job says DELIVERY_FAILED."""

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _hosts(cls, raw: object) -> object:
        if not isinstance(raw, str):
            return raw
        return tuple(HostPort.parse(item) for item in raw.split(",") if item.strip())

    @field_validator("webhook_secret")
    @classmethod
    def _decodable(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None:
            webhook_key(secret)
        return secret


def webhook_key(secret: SecretStr) -> bytes:
    """The bytes of a Standard Webhooks secret. Raises ValueError."""
    text = secret.get_secret_value()
    try:
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except ValueError:
        key = b""
    if not text.startswith("whsec_") or not 24 <= len(key) <= 64:
        raise ValueError("must be whsec_ and the base64 of 24 to 64 random bytes")
    return key
