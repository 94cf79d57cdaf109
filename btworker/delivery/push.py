"""One output pushed, one end of a job reported: a request, and whether it was taken. Parent.

What a controller is sent carries the worker's token; what an upload's webhook is sent is signed as Standard Webhooks
say (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md) and carries none.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yarl

from btworker.checkpoints import file_sha256
from btworker.config import Settings
from btworker.config.delivery import webhook_key
from btworker.delivery.buckets import Buckets, StoreRefusedError, Trouble
from btworker.delivery.guard import Guard
from btworker.delivery.http import ANSWER_BYTES, TRANSPORT_ERRORS, timeout, why
from btworker.errors import BtworkerError
from btworker.jobs import Job, JobStatus, Output
from btworker.locations import Delivery, S3Prefix
from btworker.outputs import CONTENT_TYPES
from btworker.storage import DataFolder

CONTROLLERS_NAMES = {"md": "markdown"}
"""Types of outputs for which the controller has another word."""
AT_ONCE = 32
"""Requests under way, over all jobs: a thousand deliveries that a restart takes up must not all begin at once."""
HOPELESS = frozenset({410, 413})
"""Answers after which the same request is never taken."""


class NotTakenError(Exception):
    """A push or a callback that was not taken; `hopeless` where it never will be."""

    def __init__(self, message: str, *, hopeless: bool = False) -> None:
        super().__init__(message)
        self.hopeless = hopeless


@dataclass(frozen=True, slots=True)
class Answer:
    """The JSON object of an answer; empty where there was none."""

    body: dict[str, Any]

    @property
    def outputs_received(self) -> int | None:
        """How many outputs the controller has of this job, as it says."""
        count = self.body.get("outputsReceived")
        return count if isinstance(count, int) and not isinstance(count, bool) else None


class Courier:
    """Sends; `session` must be one of open_session with the same guard."""

    def __init__(
        self, *, session: aiohttp.ClientSession, guard: Guard, buckets: Buckets, data: DataFolder, settings: Settings
    ) -> None:
        self._session = session
        self._guard = guard
        self._buckets = buckets
        self._data = data
        self._token = settings.tokens[0]
        self._key = None if settings.webhook_secret is None else webhook_key(settings.webhook_secret)
        self._timeout = timeout(settings.delivery_timeout_s)
        self._places = asyncio.Semaphore(AT_ONCE)

    async def push(self, job: Job, output: Output) -> None:
        """Send one output file. Raises NotTakenError."""
        folder = job.required_delivery.outputs_to
        path = self._data.folder(job.id).outputs / output.filename
        async with self._places:
            await (self._post_file(job, output, path) if folder is None else self._put(folder, output, path))

    async def _put(self, folder: S3Prefix, output: Output, path: Path) -> None:
        try:
            if await self._data.run(file_sha256, path) != output.sha256:
                raise NotTakenError(f"{output.filename} is not what was written any more", hopeless=True)
            kind = CONTENT_TYPES[Path(output.filename).suffix]
            await self._buckets.put(path, folder, output.filename, kind)
        except OSError as error:
            raise NotTakenError(f"{output.filename} cannot be read ({error.strerror})", hopeless=True) from None
        except StoreRefusedError as error:
            hopeless = error.trouble in (Trouble.MISSING, Trouble.WRONG)
            raise NotTakenError(str(error), hopeless=hopeless) from None

    async def _post_file(self, job: Job, output: Output, path: Path) -> None:
        delivery = job.required_delivery
        try:
            file = await self._data.run(open, path, "rb")
        except OSError as error:
            raise NotTakenError(f"{output.filename} cannot be read ({error.strerror})", hopeless=True) from None
        try:
            form = aiohttp.FormData(quote_fields=False)  # as browsers do: a name is a name
            form.add_field("workerJobId", job.id)
            form.add_field("inputId", output.input_id)
            form.add_field("outputType", CONTROLLERS_NAMES.get(output.type, output.type))
            kind = CONTENT_TYPES[Path(output.filename).suffix]
            form.add_field("file", file, filename=output.filename, content_type=kind)
            await self._post(
                delivery.outputs_url or "", "outputsUploadUrl", data=form, headers=self._authorization() | _traced(job)
            )
        finally:
            await self._data.run(file.close)

    async def call_back(self, job: Job) -> Answer:
        """POST the job's end. Raises NotTakenError."""
        delivery = job.required_delivery
        body = json.dumps(callback_body(job), ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json"}
        headers |= self._authorization() if delivery.to_controller else self._signature(job, body)
        async with self._places:
            return await self._post(
                delivery.callback_url or "", "callbackUrl", data=body, headers=headers | _traced(job)
            )

    async def _post(self, raw_url: str, what: str, *, data: Any, headers: dict[str, str]) -> Answer:
        url = yarl.URL()
        try:
            url = self._guard.checked(raw_url, what=what)
            request = self._session.post(
                url,
                data=data,
                headers={"Accept": "application/json", **headers},
                allow_redirects=False,
                timeout=self._timeout,
            )
            async with request as response:
                answer = await _read(response)
        except BtworkerError as error:
            raise NotTakenError(error.message, hopeless=True) from None
        except TRANSPORT_ERRORS as error:
            raise NotTakenError(why(url, error)) from None
        if not 200 <= response.status < 300:
            raise NotTakenError(f"{url.host} answered {response.status}", hopeless=response.status in HOPELESS)
        return answer

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}

    def _signature(self, job: Job, body: bytes) -> dict[str, str]:
        """Webhook headers; the id stays the same over all tries, so that a receiver can tell a repeat."""
        moment = str(int(time.time()))
        headers = {"webhook-id": job.id, "webhook-timestamp": moment}
        if self._key is not None:
            signed = hmac.digest(self._key, f"{job.id}.{moment}.".encode() + body, hashlib.sha256)
            headers["webhook-signature"] = f"v1,{base64.b64encode(signed).decode()}"
        return headers


def reported_status(job: Job) -> JobStatus:
    """A job whose outputs were all accepted is complete, whatever its row says yet."""
    return JobStatus.COMPLETE if job.delivers else job.status


def callback_body(job: Job) -> dict[str, Any]:
    """The status that is reported at a job's end."""
    status = reported_status(job)
    delivery = job.required_delivery
    webhook = {} if delivery.to_controller else {"type": f"job.{status.value}", "timestamp": _now()}
    return {
        **webhook,
        "workerJobId": job.id,
        "controllerJobId": job.controller_job_id,
        "status": status.value,
        "outputs": [_output(output) for output in job.outputs],
        "error": None if job.error is None else {"code": job.error.code.value, "message": job.error.message},
    }


def _output(output: Output) -> dict[str, str]:
    kind = CONTROLLERS_NAMES.get(output.type, output.type)
    return {"inputId": output.input_id, "filename": output.filename, "type": kind}


def host_of(delivery: Delivery) -> str:
    """To whom it goes, as far as that may be shown."""
    if delivery.outputs_to is not None:
        return f"the store {delivery.outputs_to.store}"
    return shown_host(delivery.outputs_url or delivery.callback_url) or ""


def shown_host(raw_url: str | None) -> str | None:
    """The part of a URL that may be shown."""
    return None if raw_url is None else yarl.URL(raw_url, encoded=True).host or ""


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _traced(job: Job) -> dict[str, str]:
    """The header that puts what a receiver does into the job's trace."""
    return {"traceparent": job.trace} if job.trace else {}


async def _read(response: aiohttp.ClientResponse) -> Answer:
    """A JSON object of an answer of moderate size, or nothing."""
    raw = bytearray()
    async for data in response.content.iter_any():
        raw += data
        if len(raw) > ANSWER_BYTES:
            return Answer({})
    try:
        body = json.loads(bytes(raw))
    except (ValueError, RecursionError):
        body = None
    return Answer(body if isinstance(body, dict) else {})
