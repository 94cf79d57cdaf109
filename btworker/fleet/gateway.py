"""The gateway: a child of the front end that looks for boxes and carries records to and from them. Child process.

The front end must outlive what the boxes are known by: Ray ends a driver whose head node stays away. So it is this
process that may be ended; the front end sees its death like any child's (link.py), and starts another one. No torch.
"""

import asyncio
import importlib
import os
import queue
import threading
from collections.abc import AsyncIterator, Awaitable, Mapping
from multiprocessing.connection import Connection
from typing import Any, Protocol

from btworker import logs
from btworker.fleet.records import (
    BoxCommand,
    BoxFound,
    BoxGone,
    BoxWord,
    Connected,
    FromBox,
    GatewayEvent,
    GatewaySpec,
    NotConnected,
    NotStarted,
    ToBox,
)
from btworker.messages import Stop
from btworker.pool.child import bind_to_parent

log = logs.get_logger()
LOOK_S = 2.0
"""Seconds between two looks for boxes."""
RETRY_S = 5.0
"""Seconds between two attempts to get into the cluster."""
LAST_COMMANDS_S = 1.0
"""Seconds that commands under way have when the front end stops."""


class ClusterError(Exception):
    """The cluster, or a box of it, cannot be reached: a sentence for the operator, or what follows a subject."""


class OtherReleaseError(ClusterError):
    """The box has another release, whose records may differ: what follows a subject."""


def cannot_enter(address: str, why: str) -> str:
    """What to look at where a cluster cannot be entered: Ray says of a wrong token that nobody answers, too."""
    return (
        f"the Ray cluster at {address} (WORKER_RAY_ADDRESS) cannot be entered: {why}. Does `ray start` run on this "
        "machine, and has the worker its token (RAY_AUTH_MODE=token, RAY_AUTH_TOKEN or ~/.ray/auth_token)? "
        "(docs/fleet.md)"
    )


class BoxLink(Protocol):
    """One box. Both raise ClusterError when it has gone."""

    def send(self, command: BoxCommand) -> Awaitable[None]:
        """Hand a command over; commands arrive in the order in which they were handed over one after the other."""

    def words(self) -> AsyncIterator[BoxWord | NotStarted]:
        """What the box says from now on, to this reader alone."""


class Cluster(Protocol):
    """What knows the boxes."""

    async def connect(self) -> str:
        """Enter the cluster; returns this machine's address in it. Raises ClusterError."""

    async def boxes(self) -> Mapping[str, BoxLink]:
        """The boxes that are there now, by name; the same object for the same box. Raises ClusterError."""


def main(spec: GatewaySpec, tasks: Any, events: Any, control: Connection) -> None:
    """The gateway's entry point; returns at Stop."""
    bind_to_parent()
    logs.set_up(spec.logs)
    threading.Thread(target=_end_with_parent, args=(control,), name="control", daemon=True).start()
    outgoing: queue.SimpleQueue[GatewayEvent] = queue.SimpleQueue()
    threading.Thread(target=_pass_on, args=(outgoing, events), name="events", daemon=True).start()
    module, _, factory = spec.cluster.partition(":")
    cluster: Cluster = getattr(importlib.import_module(module), factory)(spec.address)
    status = 0
    try:
        asyncio.run(_Gateway(cluster, outgoing, tasks).run())
    except ClusterError as error:
        log.error("gateway_ends", message=f"the fleet's gateway begins anew: {error}")  # noqa: TRY400 - a sentence
        status = 1
    os._exit(status)  # threads of ours wait for ever, and libraries have more


def _end_with_parent(control: Connection) -> None:
    """End this process when the front end ends, which closes its end of the pipe."""
    try:
        while True:
            control.recv()
    except (EOFError, OSError):
        os._exit(1)


def _pass_on(outgoing: "queue.SimpleQueue[GatewayEvent]", events: Any) -> None:
    """Put events on the front end's queue, which may be full for a while: the loop must not wait for that."""
    while True:
        events.put(outgoing.get())


class _Gateway:
    """The boxes that are being spoken to."""

    def __init__(self, cluster: Cluster, outgoing: "queue.SimpleQueue[GatewayEvent]", tasks: Any) -> None:
        self._cluster = cluster
        self._outgoing = outgoing
        self._tasks = tasks
        self._commands: dict[str, asyncio.Queue[BoxCommand]] = {}
        """Of each box that is spoken to."""
        self._sessions: dict[str, asyncio.Task[None]] = {}
        self._not_started: dict[str, str] = {}
        """Why a box ended at its start, until it says something: what comes of that is not the cause."""

    async def run(self) -> None:
        """Look for boxes and carry records, until Stop."""
        stopped = asyncio.get_running_loop().create_future()
        threading.Thread(
            target=self._take_commands, args=(asyncio.get_running_loop(), stopped), name="commands", daemon=True
        ).start()
        looking = asyncio.create_task(self._look(), name="look")
        await asyncio.wait({looking, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if looking.done():
            looking.result()
        looking.cancel()
        waits = [asyncio.create_task(commands.join()) for commands in self._commands.values()]
        if waits:
            await asyncio.wait(waits, timeout=LAST_COMMANDS_S)

    def _take_commands(self, loop: asyncio.AbstractEventLoop, stopped: "asyncio.Future[None]") -> None:
        """In a thread of its own."""
        for record in iter(self._tasks.get, Stop()):
            loop.call_soon_threadsafe(self._dispatch, record)
        loop.call_soon_threadsafe(stopped.set_result, None)

    def _dispatch(self, record: ToBox) -> None:
        commands = self._commands.get(record.box)
        if commands is not None:  # else the box has gone, and the front end is about to know
            commands.put_nowait(record.command)

    async def _look(self) -> None:
        while True:
            try:
                self._outgoing.put(Connected(await self._cluster.connect()))
                break
            except ClusterError as error:
                self._outgoing.put(NotConnected(str(error)))
            await asyncio.sleep(RETRY_S)
        while True:
            boxes = await self._cluster.boxes()
            for name in self._sessions.keys() - boxes.keys():
                self._sessions[name].cancel()
            for name in boxes.keys() - self._sessions.keys():
                self._sessions[name] = asyncio.create_task(self._speak_with(name, boxes[name]), name=f"box-{name}")
            await asyncio.sleep(LOOK_S)

    async def _speak_with(self, name: str, box: BoxLink) -> None:
        """Carry records to and from one box, until it goes."""
        commands = self._commands[name] = asyncio.Queue()
        pieces = (
            asyncio.create_task(self._bring_commands(box, commands), name=f"to-{name}"),
            asyncio.create_task(self._take_words(name, box), name=f"from-{name}"),
        )
        self._outgoing.put(BoxFound(name))
        why, refused = "left the cluster", False
        try:
            done, _ = await asyncio.wait(pieces, return_when=asyncio.FIRST_COMPLETED)
            for piece in done:
                piece.result()
        except ClusterError as error:
            why, refused = self._not_started.get(name, str(error)), isinstance(error, OtherReleaseError)
        finally:
            for piece in pieces:
                piece.cancel()
            await asyncio.gather(*pieces, return_exceptions=True)
            del self._commands[name], self._sessions[name]
            self._outgoing.put(BoxGone(name, why, refused))

    async def _bring_commands(self, box: BoxLink, commands: "asyncio.Queue[BoxCommand]") -> None:
        while True:
            await box.send(await commands.get())
            commands.task_done()

    async def _take_words(self, name: str, box: BoxLink) -> None:
        async for word in box.words():
            if isinstance(word, NotStarted):
                self._not_started[name] = f"cannot start: {word.why}"
                raise ClusterError(self._not_started[name])
            self._not_started.pop(name, None)
            self._outgoing.put(FromBox(name, word))
        raise ClusterError("ended")
