"""Objects in the stores of the operator's file: read by Range and If-Match, results put in parts. Parent.

The guard of URLs has no say here: where a store is, the operator alone decides. obstore does the requests and signs
them; it is imported when a bucket is first used, so that no other worker starts later for it.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from btworker.config.stores import Stores, StoreSettings, read_text
from btworker.delivery.http import CONNECT_S, PASSING
from btworker.delivery.origin import BrokenOffError, Part
from btworker.errors import BtworkerError, ErrorCode
from btworker.locations import S3Object, S3Prefix

if TYPE_CHECKING:
    from obstore import GetResult
    from obstore.store import ClientConfig, S3Store

CHUNK_BYTES = 2**20
"""Of an object on its way here, at least."""
PART_BYTES = 8 * 2**20
"""From this size on a result is put in parts of it: the least that S3 takes is 5 MiB."""
PARTS_AT_ONCE = 2
LONGEST_REQUEST = timedelta(days=7)
"""No limit on the whole: a large file over a slow line is fine as long as it moves."""
_STATUS = re.compile(r"status code: (\d{3})")


class Trouble(Enum):
    """Why a store did not do what was asked."""

    MISSING = "there is no such object"
    DENIED = "the credentials are not good for it, which the store's operator can mend"
    CHANGED = "it is another object by now"
    WRONG = "the same request will never be taken"
    PASSING = "the same request may be taken later"


class StoreRefusedError(Exception):
    """A store did not do what was asked: a sentence, and why."""

    def __init__(self, message: str, trouble: Trouble) -> None:
        super().__init__(message)
        self.trouble = trouble


class Buckets:
    """The stores of one worker, opened when they are first used."""

    def __init__(self, stores: Stores, *, user_agent: str, idle_s: float) -> None:
        self._stores = stores
        self._user_agent = user_agent
        self._idle_s = idle_s
        self._opened: dict[tuple[str, str], S3Store] = {}

    def check_readable(self, item: S3Object, key_name: str | None, *, what: str) -> None:
        """Raise FORBIDDEN where this object is not among those that the key of this name (None: the operator) may
        read; `what` names it in the request."""
        if not self._settings_for(item.store, key_name, what).may_read(item):
            raise self._closed(what, item.store, f"nothing in {item.bucket} that begins like this key may be read from")

    def check_writable(self, folder: S3Prefix, key_name: str | None, *, what: str) -> None:
        """The same of a folder for outputs."""
        if not self._settings_for(folder.store, key_name, what).may_write(folder):
            raise self._closed(what, folder.store, f"no output may be put into this folder of {folder.bucket} in")

    def origin(self, item: S3Object) -> "BucketOrigin":
        """An object, for the fetcher. Raises DOWNLOAD_FAILED where the operator's file does not have it any more."""
        settings = self._stores.get(item.store)
        if settings is None or not settings.may_read(item):
            message = f"the store {item.store} is not open for this object any more (WORKER_STORES_FILE)"
            raise BtworkerError(ErrorCode.DOWNLOAD_FAILED, message)
        return BucketOrigin(item, lambda: self._open(item.store, item.bucket))

    async def put(self, path: Path, folder: S3Prefix, name: str, content_type: str) -> None:
        """Put a file into a folder, in parts where it is large; it is there whole or not at all. Raises
        StoreRefusedError."""
        settings = self._stores.get(folder.store)
        if settings is None or not settings.may_write(folder):
            message = f"the store {folder.store} is not open for this folder any more (WORKER_STORES_FILE)"
            raise StoreRefusedError(message, Trouble.WRONG)
        await self.put_object(path, folder.object(name), content_type)

    async def put_object(self, path: Path, item: S3Object, content_type: str) -> None:
        """The same wherever the operator wants it. Raises StoreRefusedError."""
        store = await self._open(item.store, item.bucket)
        import obstore

        with _explained(item.store, item.bucket):
            await obstore.put_async(
                store,
                item.key,
                path,
                attributes={"Content-Type": content_type},
                chunk_size=PART_BYTES,
                max_concurrency=PARTS_AT_ONCE,
            )

    async def content(self, item: S3Object) -> AsyncIterator[bytes]:
        """What is in an object, as it comes. Raises StoreRefusedError."""
        store = await self._open(item.store, item.bucket)
        import obstore

        with _explained(item.store, item.bucket):
            found = await obstore.get_async(store, item.key)
            async for chunk in found.stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(chunk)

    async def sign(self, method: Literal["GET", "PUT"], item: S3Object, *, lifetime_s: float) -> str:
        """An address by which somebody without credentials may read or put an object for so long."""
        store = await self._open(item.store, item.bucket)
        import obstore

        return await obstore.sign_async(store, method, item.key, timedelta(seconds=lifetime_s))

    async def keys(self, folder: S3Prefix) -> list[str]:
        """Keys of all objects in a folder. Raises StoreRefusedError."""
        store = await self._open(folder.store, folder.bucket)
        import obstore

        with _explained(folder.store, folder.bucket):
            found = await obstore.list(store, prefix=folder.prefix or None).collect_async()
        return [str(item["path"]) for item in found]

    async def delete(self, folder: S3Prefix, keys: Sequence[str]) -> None:
        """Delete objects of the folder's bucket, whether they are there or not. Raises StoreRefusedError."""
        store = await self._open(folder.store, folder.bucket)
        import obstore

        with _explained(folder.store, folder.bucket):
            await obstore.delete_async(store, keys)

    async def probe(self, name: str, bucket: str) -> None:
        """Ask a store for an object that it hardly has. Raises StoreRefusedError where it does not answer as one
        should."""
        store = await self._open(name, bucket)
        import obstore

        try:
            with _explained(name, bucket):
                await obstore.get_async(store, "btworker-doctor-looks-whether-you-answer")
        except StoreRefusedError as error:
            if error.trouble is not Trouble.MISSING:
                raise

    def _settings_for(self, name: str, key_name: str | None, what: str) -> StoreSettings:
        settings = self._stores.get(name)
        if settings is None or not (key_name is None or settings.is_for(key_name)):
            raise BtworkerError(ErrorCode.FORBIDDEN, f"{what}: no store of this name is open to you here", param=what)
        return settings

    def _closed(self, what: str, store: str, why: str) -> BtworkerError:
        return BtworkerError(ErrorCode.FORBIDDEN, f"{what}: {why} the store {store}; ask its operator", param=what)

    async def _open(self, name: str, bucket: str) -> "S3Store":
        if (name, bucket) not in self._opened:
            self._opened[name, bucket] = await asyncio.to_thread(self._made, name, bucket)
        return self._opened[name, bucket]

    def _made(self, name: str, bucket: str) -> "S3Store":
        """Blocking: files are read, and obstore is loaded. What it would take from AWS_… variables is set here."""
        from obstore.store import S3Store

        settings = self._stores[name]
        endpoint = settings.endpoint.rstrip("/")
        if settings.virtual_hosted:
            endpoint = endpoint.replace("://", f"://{bucket}.", 1)
        options: ClientConfig = {
            "allow_http": True,
            "connect_timeout": timedelta(seconds=CONNECT_S),
            "read_timeout": timedelta(seconds=self._idle_s),
            "timeout": LONGEST_REQUEST,
            "user_agent": self._user_agent,
        }
        if settings.ca_file is not None:
            options["root_certificate"] = read_text(settings.ca_file)
        return S3Store(
            bucket,
            config={
                "endpoint": endpoint,
                "aws_endpoint_url_s3": endpoint,
                "region": settings.region,
                "virtual_hosted_style_request": settings.virtual_hosted,
                "skip_signature": False,
                "unsigned_payload": False,
            },
            client_options=options,
            retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=CONNECT_S)},
            credential_provider=_credentials(settings),
        )


def _credentials(settings: StoreSettings) -> Callable[[], Any]:
    """Those of the file and no others: a session token of the environment would go along otherwise."""
    found = {
        "access_key_id": settings.access_key_id.get_secret_value(),
        "secret_access_key": settings.secret,
        "token": None,
        "expires_at": None,
    }
    return lambda: found


class BucketOrigin:
    """See Origin."""

    def __init__(self, item: S3Object, opened: Callable[[], Any]) -> None:
        self._item = item
        self._opened = opened

    @property
    def name(self) -> str:
        """The store, as requests name it."""
        return f"the store {self._item.store}"

    @asynccontextmanager
    async def open(self, offset: int, validator: str | None) -> AsyncIterator[Part]:
        """See Origin; the validator is the object's ETag."""
        store = await self._opened()
        import obstore

        options: dict[str, Any] = {"range": {"offset": offset}, "if_match": validator} if offset and validator else {}
        try:
            with _explained(self._item.store, self._item.bucket):
                found = await obstore.get_async(store, self._item.key, options=options)  # type: ignore[arg-type]  # TypedDict
            yield Part(self._chunks(found), found.range[0], found.meta["size"], found.meta["e_tag"])
        except StoreRefusedError as error:
            if error.trouble is Trouble.CHANGED:
                raise BrokenOffError(f"{self._item.name} changed while it was read", anew=True) from None
            if error.trouble is Trouble.PASSING:
                raise BrokenOffError(str(error)) from None
            raise BtworkerError(ErrorCode.DOWNLOAD_FAILED, str(error)) from None

    async def _chunks(self, found: "GetResult") -> AsyncIterator[bytes]:
        with _explained(self._item.store, self._item.bucket):
            async for chunk in found.stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(chunk)


@contextmanager
def _explained(store: str, bucket: str) -> Iterator[None]:
    """Raise StoreRefusedError, one sentence, for what obstore raises: its own words hold the address, which is the
    operator's business, and what the store answered."""
    from obstore.exceptions import (
        BaseError,
        NotFoundError,
        PermissionDeniedError,
        PreconditionError,
        UnauthenticatedError,
    )

    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        if "NoSuchBucket" in str(error):
            raise StoreRefusedError(f"the store {store} has no bucket {bucket}", Trouble.WRONG) from None
        what = f"the store {store} has no such object in the bucket {bucket}"
        raise StoreRefusedError(what, Trouble.MISSING) from None
    except (PermissionDeniedError, UnauthenticatedError):
        what = f"the store {store} refuses this worker's credentials for the bucket {bucket}; ask its operator"
        raise StoreRefusedError(what, Trouble.DENIED) from None
    except PreconditionError:
        raise StoreRefusedError(f"the object in the store {store} changed", Trouble.CHANGED) from None
    except BaseError as error:
        raise _of_status(store, str(error)) from None


def _of_status(store: str, words: str) -> StoreRefusedError:
    if "redirect" in words:
        return StoreRefusedError(f"the store {store} is elsewhere: its region or endpoint is another", Trouble.WRONG)
    found = _STATUS.search(words)
    if found is None:
        return StoreRefusedError(f"the store {store} could not be reached, or broke off", Trouble.PASSING)
    status = int(found[1])
    wrong = status < 500 and status not in PASSING
    return StoreRefusedError(f"the store {store} answered {status}", Trouble.WRONG if wrong else Trouble.PASSING)
