"""The process of a box: `python -m btworker.fleet.box_process NAME DESCRIPTOR`. Whoever starts it holds the other end
of the socket: records come and go by it, and its end is the end of the box.

A process of its own, since what starts it (Ray's, on a cluster) is no place for children that are spawned and die with
their parent. Settings are those of its environment; its files lie below <data>/boxes/<name>.
"""

import asyncio
import os
import queue
import sys
import threading
from multiprocessing.connection import Connection
from pathlib import Path

from btworker.config import Settings, forget_credentials, load_settings
from btworker.errors import StartupError
from btworker.fleet.box import Box
from btworker.fleet.records import BoxCommand, BoxWord, NotStarted
from btworker.logs import set_up, wants_json
from btworker.specs import LogSettings
from btworker.storage import DataFolder

NO_TOKEN = "a-box-answers-nobody"  # noqa: S105 - no secret: settings want one, and a box has no use for it


def main() -> None:
    """Run the box until its connection ends. Raises StartupError, which it has told, too."""
    name, connection = sys.argv[1], Connection(int(sys.argv[2]))
    try:
        settings = settings_of(name)
        forget_credentials()
        set_up(LogSettings(settings.log_level, json=wants_json(settings.log_format)))
        _data = DataFolder.open(settings.data_dir, threads=1)  # locked: two boxes would clear away each other's files
    except StartupError as error:
        connection.send(NotStarted(" ".join(error.message.split())))
        raise
    asyncio.run(_run(settings, connection))


def settings_of(name: str) -> Settings:
    """The environment's settings, with folders of the box's own. Raises StartupError."""
    given = load_settings(token=NO_TOKEN)
    scratch = None if given.tmp_dir is None else _own(given.tmp_dir, name)
    return given.model_copy(update={"data_dir": _own(given.data_dir, name), "tmp_dir": scratch})


def _own(folder: Path, name: str) -> Path:
    return folder / "boxes" / name


async def _run(settings: Settings, connection: Connection) -> None:
    commands: asyncio.Queue[BoxCommand] = asyncio.Queue()
    words: queue.SimpleQueue[BoxWord] = queue.SimpleQueue()
    loop = asyncio.get_running_loop()
    closed = loop.create_future()

    def receive() -> None:
        try:
            while True:
                loop.call_soon_threadsafe(commands.put_nowait, connection.recv())
        except (EOFError, OSError):
            loop.call_soon_threadsafe(closed.set_result, None)

    def send() -> None:
        try:
            while True:
                connection.send(words.get())
        except (BrokenPipeError, OSError):  # its other direction has ended, too
            return

    for work in (receive, send):
        threading.Thread(target=work, name=f"box-{work.__name__}", daemon=True).start()
    box = Box(settings, words.put)
    running = asyncio.create_task(box.run(commands), name="box")
    await asyncio.wait({running, closed}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        running.result()
    await box.stop()
    os._exit(0)  # files may be on their way in threads


if __name__ == "__main__":
    try:
        main()
    except StartupError as error:
        sys.exit(f"btworker: {error.message}")
