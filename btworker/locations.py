"""Where a job's inputs lie and where its results go: records that are stored with the job. Pure, parent."""

import re
from dataclasses import dataclass

SCHEME = "s3://"
MAX_KEY_BYTES = 1024
"""Of an object's key, in UTF-8: a limit of S3."""
MAX_PREFIX_BYTES = 512
"""Of what stands before the names of results, which have at most 255 bytes."""
STORE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
BUCKET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")
BAD_KEY = "must be the name of an object: no empty part, no . or .. between slashes, no control character"


@dataclass(frozen=True, slots=True)
class S3Object:
    """One object in a bucket of a store, which the operator's file names."""

    store: str
    bucket: str
    key: str

    @property
    def name(self) -> str:
        """The last component of the key."""
        return self.key.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class S3Prefix:
    """A folder in a bucket of a store; empty: the bucket itself."""

    store: str
    bucket: str
    prefix: str = ""

    def object(self, name: str) -> S3Object:
        """The object of this name in it."""
        return S3Object(self.store, self.bucket, f"{folder_like(self.prefix)}{name}")

    @property
    def address(self) -> str:
        """The folder as people write it."""
        return f"{SCHEME}{self.store}/{self.bucket}/{folder_like(self.prefix)}"


Source = str | S3Object
"""A URL, or an object."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """Where a job's results and its end are to be sent, and how far that is. Times are seconds since the epoch."""

    callback_url: str | None = None
    """None: no callback is sent at the job's end."""
    outputs_url: str | None = None
    """Where output files are pushed; None for a webhook, whose client fetches them."""
    to_controller: bool = False
    """The worker's own token goes along; else the callback is a signed webhook."""
    outputs_to: S3Prefix | None = None
    """The folder of a bucket that output files are put into."""
    accepted: tuple[str, ...] = ()
    """File names of the outputs that were accepted, in order; one that was pushed again stands there again."""
    attempts: int = 0
    """Requests that were made."""
    failures: int = 0
    """Requests that failed since the last success: what the next delay depends on."""
    last_error: str | None = None
    began_at: float | None = None
    callback_at: float | None = None
    """When the last of it was accepted: the callback, or without one the outputs."""
    gave_up_at: float | None = None

    @property
    def takes_outputs(self) -> bool:
        """A job is complete only once its outputs are there."""
        return self.outputs_url is not None or self.outputs_to is not None

    @property
    def over(self) -> bool:
        """Nothing is left to be tried."""
        return self.callback_at is not None or self.gave_up_at is not None

    @property
    def state(self) -> str:
        """The delivery is waiting, delivering, delivered or failed."""
        if self.over:
            return "failed" if self.callback_at is None else "delivered"
        return "waiting" if self.began_at is None else "delivering"


def folder_like(prefix: str) -> str:
    """A prefix that ends at a slash, so that calls does not stand for calls-of-others as well."""
    return f"{prefix.rstrip('/')}/" if prefix else ""


def is_key(text: str) -> bool:
    """Whether a text can name an object, and means the same wherever a path is made of it."""
    try:
        size_bytes = len(text.encode())
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    parts = text.split("/")
    return (
        1 <= size_bytes <= MAX_KEY_BYTES
        and not any(part in ("", ".", "..") for part in parts)
        and not any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in text)
    )


def is_prefix(text: str) -> bool:
    """The same of a folder; it may end with a slash, and may be empty."""
    return not text or (is_key(text.removesuffix("/")) and len(text.encode()) <= MAX_PREFIX_BYTES)


def parse_address(text: str) -> tuple[str, str, str] | None:
    """s3://store/bucket/key -> its three parts; None for what is none."""
    if not text.lower().startswith(SCHEME):
        return None
    store, _, rest = text[len(SCHEME) :].partition("/")
    bucket, _, key = rest.partition("/")
    return store, bucket, key
