"""A multipart upload as Starlette's documentation takes one: python form_server.py FOLDER. Prints its port.

`request.form()` spools the part to a temporary file; what an application wants to keep it copies from there.
"""

import shutil
import socket
import sys
import tempfile
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

FOLDER = Path(sys.argv[1])


def keep(upload: UploadFile) -> None:
    """Copy the spooled part to where it stays."""
    with (FOLDER / "kept").open("wb") as file:
        shutil.copyfileobj(upload.file, file, 1 << 20)


async def receive(request: Request) -> Response:
    """Take one file."""
    async with request.form() as form:
        upload = form["file"]
        assert isinstance(upload, UploadFile)
        await run_in_threadpool(keep, upload)
    return Response(status_code=201)


if __name__ == "__main__":
    tempfile.tempdir = str(FOLDER)  # on the disk that is measured
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    app = Starlette(routes=[Route("/", receive, methods=["POST"])])
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run([listener])
