"""Buckets in requests: the form of each, and whether the caller may name it. Parent.

Only what stands in the operator's file can be named, and of it only what is open to the caller's key.
"""

import json
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from btworker.errors import BtworkerError, ErrorCode
from btworker.keys import OPERATOR
from btworker.locations import (
    BAD_KEY,
    BUCKET_NAME,
    MAX_PREFIX_BYTES,
    STORE_NAME,
    Delivery,
    S3Object,
    S3Prefix,
    is_key,
    is_prefix,
    parse_address,
)
from btworker.web.context import Context
from btworker.web.mistakes import first_field, first_mistake
from btworker.web.option_fields import CALLBACK, OUTPUTS_TO, Fields, allowed_url, value_beside

TARGET = 'must be {"s3": {"store": …, "bucket": …, "prefix": …}}, or s3://store/bucket/prefix'


def _key(text: str) -> str:
    if not is_key(text):
        raise ValueError(BAD_KEY)
    return text


def _prefix(text: str) -> str:
    if not is_prefix(text):
        raise ValueError(f"must be the beginning of keys, up to {MAX_PREFIX_BYTES} bytes; it {BAD_KEY}")
    return text


class BucketForm(BaseModel):
    """A bucket of a store."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    store: str = Field(pattern=f"^{STORE_NAME.pattern}$", description="its name in the operator's file")
    bucket: str = Field(pattern=f"^{BUCKET_NAME.pattern}$")


class ObjectForm(BucketForm):
    """An object in a bucket."""

    key: Annotated[str, AfterValidator(_key)]

    def record(self) -> S3Object:
        """As it is stored."""
        return S3Object(self.store, self.bucket, self.key)


class FolderForm(BucketForm):
    """A folder in a bucket."""

    prefix: Annotated[str, AfterValidator(_prefix)] = ""

    def record(self) -> S3Prefix:
        """As it is stored."""
        return S3Prefix(self.store, self.bucket, self.prefix)


class TargetForm(BaseModel):
    """Where outputs are put."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    s3: FolderForm


def named_object(text: str, *, what: str) -> S3Object | None:
    """s3://store/bucket/key; None for what is no such address. Raises BAD_OPTION."""
    if (found := parse_address(text)) is None:
        return None
    store, bucket, key = found
    try:
        return ObjectForm(store=store, bucket=bucket, key=key).record()
    except ValidationError as error:
        where = first_field(error)
        message = f"{what}: it must be s3://store/bucket/key, and its {where} is wrong"
        raise BtworkerError(ErrorCode.BAD_OPTION, message, param=what) from None


def delivery_of(fields: Fields, context: Context, owner: str) -> Delivery | None:
    """What becomes of a job's end and its outputs. Raises BAD_OPTION, URL_REFUSED, FORBIDDEN."""
    callback, folder = allowed_url(fields, CALLBACK, context.guard), _folder(value_beside(fields, OUTPUTS_TO))
    if folder is not None:
        context.service.outbound.buckets.check_writable(folder, _key_name(context, owner), what=OUTPUTS_TO)
    return None if callback is None and folder is None else Delivery(callback, outputs_to=folder)


def check_readable(context: Context, item: S3Object, owner: str, *, what: str) -> None:
    """Raise FORBIDDEN where this owner's jobs may not read it."""
    context.service.outbound.buckets.check_readable(item, _key_name(context, owner), what=what)


def _key_name(context: Context, owner: str) -> str | None:
    return None if owner == OPERATOR else context.service.keys.name_of(owner)


def _folder(raw: Any) -> S3Prefix | None:
    if raw is None:
        return None
    try:
        if isinstance(raw, str) and (found := parse_address(raw)) is not None:
            store, bucket, prefix = found
            return FolderForm(store=store, bucket=bucket, prefix=prefix).record()
        return TargetForm.model_validate(json.loads(raw) if isinstance(raw, str) else raw).s3.record()
    except ValidationError as error:
        path, what = first_mistake(error)
        where = ".".join((OUTPUTS_TO, *path))
        message = f"{where}: {what}; it {TARGET}"
        raise BtworkerError(ErrorCode.BAD_OPTION, message, param=where[:100]) from None
    except (ValueError, RecursionError):
        raise BtworkerError(ErrorCode.BAD_OPTION, f"{OUTPUTS_TO} {TARGET}", param=OUTPUTS_TO) from None
