"""Answers before the answer: 100 where a body is welcome, 102 while a job takes its time. Parent."""

from aiohttp import HttpVersion11, web

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"


async def send_interim(request: web.Request, head: bytes) -> None:
    """Send one of them; the answer itself has not begun. Raises ConnectionError."""
    await request.writer.write(head)
    await request.writer.drain()
    request.writer.output_size = 0


def counts_silence(request: web.Request) -> bool:
    """Whether the client gives up after a time in which nothing comes, so that a 102 begins that time anew: fetch in
    Node after 300 s, whatever the program's own limit is, and OpenAI's and Groq's packages for Python after theirs. No
    other client gets one: some, as Python's http.client, take it for the answer."""
    known = "Sec-Fetch-Mode" in request.headers or request.headers.get("X-Stainless-Lang") == "python"
    return known and request.version >= HttpVersion11
