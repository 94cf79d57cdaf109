"""Settings of a fleet: several boxes behind one front end (docs/fleet.md)."""

import ipaddress
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from btworker.config.parsing import ANY_CASE, FROM_ENVIRONMENT, env, is_address
from btworker.locations import BUCKET_NAME, STORE_NAME, S3Prefix, is_prefix, parse_address

WILDCARDS = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, not bound


class FleetSettings(BaseSettings):
    """The fleet's part of Settings."""

    model_config = FROM_ENVIRONMENT

    pool: Annotated[Literal["local", "ray"], ANY_CASE] = Field("local", validation_alias=env("WORKER_POOL"))
    """local: the GPUs of this machine. ray: those of all boxes of a Ray cluster (docs/fleet.md)."""
    ray_address: str = Field("auto", min_length=1, max_length=255, validation_alias=env("WORKER_RAY_ADDRESS"))
    """The cluster, as host:port of its head; auto: the one that runs on this machine."""
    fleet_host: str = Field("127.0.0.1", validation_alias=env("WORKER_FLEET_HOST"))
    """Address on which boxes fetch inputs and leave results, apart from the clients' address, so that a firewall can
    tell them apart. Loopback unless set otherwise: name the one of the boxes' network."""
    fleet_port: int = Field(8478, ge=0, le=65535, validation_alias=env("WORKER_FLEET_PORT"))
    """TCP port of that; 0 takes a free one."""
    fleet_url: str = Field("", validation_alias=env("WORKER_FLEET_URL"))
    """The same as boxes reach it, where that is another address, such as http://10.0.0.1:8478. Default: made of the two
    before, with this machine's address in the cluster where WORKER_FLEET_HOST is 0.0.0.0."""

    fleet_store: str = Field("", max_length=600, validation_alias=env("WORKER_FLEET_STORE"))
    """A folder of an S3 store that large files between front end and boxes go through, as s3://store/bucket/folder: the
    store is one of WORKER_STORES_FILE, and the folder this worker's alone. Boxes get addresses that are good for one
    object and 15 minutes, and no credentials. Empty: all files come from and go to the address above."""
    fleet_silence_s: float = Field(20.0, ge=5, le=3600, validation_alias=env("WORKER_FLEET_SILENCE_SECONDS"))
    """Seconds without a word after which a box counts as lost, and its jobs go to others: ten of its signs of life, so
    that a busy network is no loss."""
    ray_auth_mode: Annotated[str, ANY_CASE] = Field("", validation_alias=env("RAY_AUTH_MODE"))
    """Ray's own setting. Whoever reaches Ray's ports runs programs on every box: so the worker starts with
    WORKER_POOL=ray only where this is `token`, or where WORKER_FLEET_HOST is loopback."""

    @property
    def wrong_fleet(self) -> str:
        """What keeps a fleet from being safe; empty where nothing does."""
        if self.pool == "local" or self.ray_auth_mode == "token" or _is_loopback(self.fleet_host):
            return ""
        return (
            f"WORKER_POOL=ray with WORKER_FLEET_HOST={self.fleet_host} needs RAY_AUTH_MODE=token, here and on each "
            "box: without it, whoever reaches Ray's ports runs programs (docs/fleet.md)"
        )

    def fleet_address(self, machine: str, port: int) -> str:
        """Where boxes reach the listener; `machine` is this one's address in the cluster."""
        if self.fleet_url:
            return self.fleet_url
        host = machine if self.fleet_host in WILDCARDS else self.fleet_host
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    @property
    def fleet_folder(self) -> S3Prefix | None:
        """WORKER_FLEET_STORE, where it is set."""
        parts = parse_address(self.fleet_store)
        return None if parts is None else S3Prefix(*parts)

    @field_validator("fleet_store")
    @classmethod
    def _folder(cls, raw: str) -> str:
        store, bucket, folder = parse_address(raw) or ("", "", "")
        if raw and not (STORE_NAME.fullmatch(store) and BUCKET_NAME.fullmatch(bucket) and is_prefix(folder)):
            raise ValueError("must be like s3://store/bucket/folder")
        return raw

    @field_validator("fleet_url")
    @classmethod
    def _plain_url(cls, raw: str) -> str:
        url = urlsplit(raw.rstrip("/"))
        if raw and (url.scheme not in ("http", "https") or not url.hostname or url.path or url.query or url.fragment):
            raise ValueError("must be like http://10.0.0.1:8478")
        return url.geturl()


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)
