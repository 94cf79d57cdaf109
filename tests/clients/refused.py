"""Clients for Python, as people use them: `refused.py CLIENT URL TOKEN PATH` prints the status and the error's code."""

import asyncio
import http.client
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

HEAD = b'--XX\r\nContent-Disposition: form-data; name="file"; filename="talk.wav"\r\n\r\n'
TAIL = b"\r\n--XX--\r\n"


def by_http_client(url: str, token: str, path: str) -> tuple[int, str]:
    """The standard library, which sends all before it reads."""

    def body() -> Iterator[bytes]:
        yield HEAD
        with open(path, "rb") as file:
            while piece := file.read(2**20):
                yield piece
        yield TAIL

    where = urlsplit(url)
    connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=100)
    length = len(HEAD) + Path(path).stat().st_size + len(TAIL)
    headers = {"Content-Type": "multipart/form-data; boundary=XX", "Content-Length": str(length)}
    connection.request("POST", where.path, body(), {**headers, "Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def by_requests(url: str, token: str, path: str) -> tuple[int, str]:
    import requests

    with open(path, "rb") as file:
        files = {"file": ("talk.wav", file)}
        answer = requests.post(url, headers={"Authorization": f"Bearer {token}"}, files=files, timeout=100)
    return answer.status_code, answer.text


def by_httpx(url: str, token: str, path: str) -> tuple[int, str]:
    import httpx

    with open(path, "rb") as file:
        files = {"file": ("talk.wav", file)}
        answer = httpx.post(url, headers={"Authorization": f"Bearer {token}"}, files=files, timeout=100)
    return answer.status_code, answer.text


def by_aiohttp(url: str, token: str, path: str) -> tuple[int, str]:
    import aiohttp

    async def post() -> tuple[int, str]:
        with open(path, "rb") as file:
            form = aiohttp.FormData()
            form.add_field("file", file, filename="talk.wav")
            headers = {"Authorization": f"Bearer {token}"}
            async with aiohttp.ClientSession() as session, session.post(url, data=form, headers=headers) as answer:
                return answer.status, await answer.text()

    return asyncio.run(post())


CLIENTS = {"http.client": by_http_client, "requests": by_requests, "httpx": by_httpx, "aiohttp": by_aiohttp}

if __name__ == "__main__":
    status, text = CLIENTS[sys.argv[1]](*sys.argv[2:])
    print(status, json.loads(text)["error"]["code"])
