"""Sending an upload so that the server's answer is read, also when it comes in the middle.

The headers go first, with `Expect: 100-continue`: a wrong token, a file that is too large or a full queue is refused
before a byte of the file is sent. A server that does not know the header is given a moment, then sent everything.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp

from btworker.client.errors import BAD_ANSWER, CONNECTION_LOST, ClientError, refused
from btworker.client.upload import Upload

EXPECT_S = 5.0
"""Seconds that a server has to ask for the body."""
EXPECTATION_FAILED = 417
STALL_S = 120.0
"""Seconds without a byte taken after which an upload counts as lost."""
STORED_S = 900.0
"""Seconds that the server has to make a multi-GB upload durable on a slow disk, and answer."""


async def send_upload(session: aiohttp.ClientSession, url: str, upload: Upload, headers: Mapping[str, str]) -> Any:
    """POST the upload and return the JSON of the answer. Raises ClientError, and aiohttp's errors."""
    for expect in (True, False):
        upload.started = False
        request = asyncio.create_task(_post(session, url, upload, headers, expect=expect))
        try:
            if await _answered(request, upload, expect=expect):
                return await request
        except ClientError as error:
            if error.status != EXPECTATION_FAILED or not expect:
                raise
        finally:
            await _end(request)
    raise AssertionError  # without `expect`, the request is always seen to its end


async def _answered(request: "asyncio.Task[Any]", upload: Upload, *, expect: bool) -> bool:
    """Wait for the request's end, however long it takes while bytes move; False when it has not begun to send."""
    while True:
        sent_bytes = upload.sent_bytes
        waits_for_server = expect and not upload.started
        await asyncio.wait({request}, timeout=EXPECT_S if waits_for_server else STALL_S)
        if request.done():
            return True
        if waits_for_server and not upload.started:
            return False
        if upload.sent_bytes == sent_bytes and not upload.done and not waits_for_server:
            raise ClientError(CONNECTION_LOST, f"the server has taken no byte for {STALL_S:.0f} s")


async def _post(
    session: aiohttp.ClientSession, url: str, upload: Upload, headers: Mapping[str, str], *, expect: bool
) -> Any:
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=STORED_S)
    try:
        async with session.post(
            url, data=upload.body(), headers=headers, expect100=expect, timeout=timeout, allow_redirects=False
        ) as response:
            try:
                return await _answer(response)
            finally:
                if not upload.done:  # refused in the middle: do not go on sending
                    response.close()
    except (aiohttp.ClientError, OSError):
        if upload.failure is not None:
            raise upload.failure from None
        raise


async def _answer(response: aiohttp.ClientResponse) -> Any:
    if response.status not in {200, 201}:
        raise await refused(response)
    return await read_json(response)


async def read_json(response: aiohttp.ClientResponse) -> Any:
    """The JSON of an answer. Raises ClientError(BAD_ANSWER) when it is none."""
    try:
        return await response.json()
    except (aiohttp.ContentTypeError, ValueError):
        raise ClientError(BAD_ANSWER, f"{response.url.origin()} answered without JSON; is this a btworker?") from None


async def _end(request: "asyncio.Task[Any]") -> None:
    request.cancel()
    await asyncio.wait({request})
