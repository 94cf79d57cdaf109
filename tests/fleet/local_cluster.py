"""Boxes without Ray: the very process of a box, started by the gateway itself. Loaded by import string, as Ray's is.

The address is a folder: the boxes are its subfolders, whose `env.json` is their environment; a file `gone` takes a box
out of the cluster.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path

from btworker.fleet.gateway import BoxLink, ClusterError
from btworker.fleet.records import BoxCommand, BoxWord


class LocalCluster:
    """Implements gateway.Cluster."""

    def __init__(self, address: str) -> None:
        self._folder = Path(address)
        self._boxes: dict[str, LocalBox] = {}

    async def connect(self) -> str:
        """There is nothing to enter."""
        if not self._folder.is_dir():
            raise ClusterError(f"there is no cluster {self._folder}")
        return "127.0.0.1"

    async def boxes(self) -> Mapping[str, BoxLink]:
        """The folders, and a process for each."""
        names = {path.parent.name for path in self._folder.glob("*/env.json") if not (path.parent / "gone").exists()}
        for name in self._boxes.keys() - names:
            self._boxes.pop(name).process.kill()
        for name in names:
            if name not in self._boxes or self._boxes[name].process.poll() is not None:
                self._boxes[name] = LocalBox(self._folder / name)
        return dict(self._boxes)


class LocalBox:
    """Implements gateway.BoxLink."""

    def __init__(self, folder: Path) -> None:
        ours, theirs = socket.socketpair()
        environment = {**os.environ, **json.loads((folder / "env.json").read_text())}
        with theirs:
            command = [sys.executable, "-m", "btworker.fleet.box_process", folder.name, str(theirs.fileno())]
            with open(folder / "log", "ab") as log:
                self.process = subprocess.Popen(
                    command, pass_fds=(theirs.fileno(),), env=environment, stdout=log, stderr=log
                )
        (folder / "pid").write_text(str(self.process.pid))
        self._connection = Connection(ours.detach())

    async def send(self, command: BoxCommand) -> None:
        """See gateway.BoxLink."""
        try:
            self._connection.send(command)
        except OSError:
            raise ClusterError("was killed") from None

    async def words(self) -> AsyncIterator[BoxWord]:
        """See gateway.BoxLink."""
        try:
            while True:
                yield await asyncio.to_thread(self._connection.recv)
        except (EOFError, OSError):
            self.process.wait()
            raise ClusterError("was killed") from None
