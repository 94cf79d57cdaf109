"""Answers before the answer: 100 where a body is welcome, 102 while a job takes its time. Parent."""

from aiohttp import HttpVersion11, web

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"


async def send_interim(request: web.Request, head: bytes) -> None:
    """Send one of them; the answer itself has not begun. Raises ConnectionError."""
    await request.writer.write(head)
    await request.writer.drain()
    request.writer.output_size = 0


def waits_by_fetch(request: web.Request) -> bool:
    """Whether the client is fetch, which gives up in Node where no head of an answer comes in 300 s, whatever the
    program's own limit is: a 102 begins that time anew. Others wait as they were told, and some, as Python's
    http.client, take a 102 for the answer."""
    return "Sec-Fetch-Mode" in request.headers and request.version >= HttpVersion11
