"""A Unix socket in the data folder, by which a command on the same machine asks the running worker for something.

    btworker backup --> "backup\\n" --> the parent copies its job table, which nobody else can open (store/)
                    <-- {"table": name in the data folder} or {"error": sentence}
    btworker keys   --> "keys {…}\\n" --> service/keys.py

Who may write to the data folder may ask, and nobody else. `answering` runs in the parent, `ask` in the command.
"""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

NAME = "control"
Command = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]
"""What is done for a word and what came with it; the answer, in words that JSON has."""


class NoAnswerError(Exception):
    """Nobody answers at this data folder."""


@asynccontextmanager
async def answering(data_dir: Path, commands: Mapping[str, Command]) -> AsyncIterator[None]:
    """Answer until the end of the block. Raises OSError where the file system knows no sockets."""
    (data_dir / NAME).unlink(missing_ok=True)  # of a worker that was killed; the folder's lock is ours
    listener = socket.socket(socket.AF_UNIX)
    with _short(data_dir) as path:
        listener.bind(path)
    (data_dir / NAME).chmod(0o600)
    server = await asyncio.start_unix_server(partial(_answer, commands), sock=listener)
    try:
        yield
    finally:
        server.close()
        (data_dir / NAME).unlink(missing_ok=True)


async def _answer(commands: Mapping[str, Command], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):  # whoever asked has left
        word, _, request = (await reader.readuntil()).decode("ascii", "replace").strip().partition(" ")
        command = commands.get(word)
        if command is None:
            answer = {"error": f"this worker knows no {word!r}"}
        else:
            answer = await command(json.loads(request or "{}"))
        writer.write(json.dumps(answer).encode() + b"\n")
    writer.close()


def ask(data_dir: Path, word: str, request: dict[str, Any], *, timeout_s: float) -> dict[str, Any]:
    """What the worker at this data folder answers. Raises NoAnswerError."""
    try:
        with socket.socket(socket.AF_UNIX) as connection, _short(data_dir) as path:
            connection.settimeout(timeout_s)
            connection.connect(path)
            connection.sendall(f"{word} {json.dumps(request)}\n".encode() if request else f"{word}\n".encode())
            with connection.makefile("rb") as answer:
                return dict(json.loads(answer.readline()))
    except (OSError, ValueError) as error:
        raise NoAnswerError(str(error)) from None


@contextmanager
def _short(data_dir: Path) -> Iterator[str]:
    """The socket's path; its own may have more than the 107 bytes that a socket's address has room for."""
    descriptor = os.open(data_dir, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{NAME}"
    finally:
        os.close(descriptor)
