"""The pool of a fleet: boxes that the gateway finds, and the events of their jobs as one stream. Front end's loop.

Implements pool.Pool. What boxes say goes on in sessions.py; what jobs get of them is chosen here.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import asdict
from itertools import count
from typing import Any

from btworker.config import Settings
from btworker.errors import ErrorCode, ErrorInfo
from btworker.fleet.cordon import Cordon
from btworker.fleet.gateway import cannot_enter
from btworker.fleet.helpers import Helpers
from btworker.fleet.leases import Leases
from btworker.fleet.link import GatewayLink
from btworker.fleet.prefetching import Prefetches
from btworker.fleet.records import (
    BoxCommand,
    Connected,
    GatewayEvent,
    GatewaySpec,
    LoadModels,
    NotConnected,
    RunOnBox,
    ToBox,
)
from btworker.fleet.remote_box import MOST_WORKERS, RemoteBox
from btworker.fleet.sessions import Sessions
from btworker.fleet.sharing import Sharing
from btworker.fleet.versions import versions_here
from btworker.jobs import Job, JobId
from btworker.logs import get_logger, wants_json
from btworker.messages import Cancel, RunTask
from btworker.pool import BoxSummary, Phase, PoolEvent, RoomChanged, WorkerState
from btworker.pool.placing import Placement, Vacancy
from btworker.pool.process import Gone
from btworker.pool.stream import EventStream
from btworker.specs import Device, LogSettings

log = get_logger()
RAY = "btworker.fleet.ray_cluster:RayCluster"
WATCH_INTERVAL_S = 1.0
NO_BOX = "waiting for a box to join the fleet (docs/fleet.md)"


class FleetPool:
    """See the module's docstring. `port` is that of the fleet's listener; `cluster` knows the boxes (gateway.py)."""

    def __init__(self, settings: Settings, leases: Leases, sharing: Sharing, *, port: int, cluster: str = RAY) -> None:
        self._settings = settings
        self._leases = leases
        self._port = port
        self._versions = versions_here(settings.model)
        self._cordon = Cordon(settings.data_dir)
        self._prefetches = Prefetches(leases, self._command)
        self._placement = Placement(self._prefetches.starts_in)
        self._events = EventStream()
        self._helpers = Helpers(leases, sharing, command=self._command, emit=self._events.put)
        self._boxes: dict[str, RemoteBox] = {}
        self._first_indices = count(0, MOST_WORKERS)
        self._sessions = Sessions(
            leases,
            self._prefetches,
            self._cordon,
            self._versions,
            open_boxes=self._open_boxes,
            address=self._address,
            command=self._command,
            emit=self._events.put,
        )
        self._host = ""
        """This machine's address, as boxes know it."""
        self._problem: ErrorInfo | None = None
        """Why the gateway is not in the cluster."""
        logs = LogSettings(settings.log_level, json=wants_json(settings.log_format))
        self._link = GatewayLink(GatewaySpec(0, cluster, settings.ray_address, logs), self._on_gateway_event)
        self._watch: asyncio.Task[None] | None = None
        self._stopping = False

    # what service/ asks

    @property
    def slots(self) -> int:
        """Jobs that can be at work at once, on the boxes that are there."""
        return sum(worker.slots for box in self._boxes.values() for worker in box.workers.states)

    def workers(self) -> tuple[WorkerState, ...]:
        """The state of every worker of every box; one that stands for the fleet where it has no box."""
        found = tuple(state for box in self._boxes.values() for state in box.states())
        if found:
            return found
        doing = "" if self._problem else NO_BOX
        return (WorkerState(0, Device("box"), Phase.WAITING, slots=0, problem=self._problem, loading=doing),)

    def boxes(self) -> tuple[BoxSummary, ...]:
        """All boxes, those that were lost within a day included."""
        return tuple(box.summary(drained=box.name in self._cordon) for box in self._boxes.values())

    async def start(self) -> None:
        """Spawn the gateway; boxes come as it finds them."""
        self._link.start()
        self._watch = asyncio.create_task(self._look_around(), name="fleet-watch")
        self._events.depend_on(self._watch)

    def pick(self, waiting: Iterable[Job], goes_beside: Callable[[Job], bool]) -> JobId | None:
        """The first job that can start now. Where none can, children that ended for want of jobs are started again."""
        job_id, first = self._placement.pick(waiting, self._room(), goes_beside, slots=self.slots)
        if job_id is not None:
            self._prefetches.note_pick(job_id, first)
            return job_id
        self._prefetches.plan(first, self._open_boxes())
        for box in self._open_boxes() if first else ():
            if box.wants_wake:
                box.woken = True
                self._command(box, LoadModels(len(first)))
        return None

    def send(self, task: RunTask) -> WorkerState | None:
        """Give the task to a worker; None where there is none, or where the job's files are still being written to."""
        index = self._placement.worker_for(task, self._room())
        ticket = None if index is None else self._leases.grant(task.job_id, task.attempt)
        if index is None or ticket is None:
            return None
        box = next(box for box in self._boxes.values() if box.has(index))
        self._prefetches.note_start(task.job_id, box)
        box.begin(index - box.first_index, task)
        self._command(box, RunOnBox(box.session, index - box.first_index, task, ticket))
        return next(state for state in box.states() if state.index == index)

    def cancel(self, job_id: JobId) -> None:
        """Ask whichever box has this job to stop it."""
        for box in self._boxes.values():
            self._cancel(box, job_id)

    def events(self) -> AsyncIterator[PoolEvent]:
        """The one stream of events; ends after `stop`, and fails where silent boxes would go unnoticed."""
        return aiter(self._events)

    async def stop(self) -> None:
        """End the gateway. Boxes get the command to stop what they do: the next start begins their jobs again."""
        self._stopping = True
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        for box in self._boxes.values():
            for job_id in box.job_ids:
                self._cancel(box, job_id)
        await self._link.stop()
        self._events.end()

    # what the operator asks

    async def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """`btworker fleet`: list the boxes, or change whether one gets jobs."""
        name, action = str(request.get("box", "")), request.get("action")
        if action in ("drain", "resume"):
            try:
                await asyncio.to_thread(self._cordon.change, name, drained=action == "drain")
            except OSError as error:
                return {"error": f"this cannot be kept: {error.strerror}"}
            log.info("box_drained" if action == "drain" else "box_resumed", box=name)
            self._events.put(RoomChanged())
        problem = self._problem.message if self._problem else "" if self._boxes else NO_BOX
        return {"boxes": list(map(asdict, self.boxes())), "drained": list(self._cordon.names), "problem": problem}

    # what comes from the gateway

    def _on_gateway_event(self, event: GatewayEvent | Gone) -> None:
        if self._stopping:
            return
        match event:
            case Gone():
                ended = f"the fleet's gateway {event.sentence}"  # which Ray does to it where no head answers, too
                why = ended if self._host else cannot_enter(self._settings.ray_address, ended)
                self._problem, self._host = ErrorInfo(ErrorCode.NOT_READY, why), ""
                for box in self._boxes.values():
                    self._sessions.lose(box, "lost its connection: the fleet's gateway ended", innocent=True)
            case Connected(address=address):
                self._host, self._problem = address, None
                self._link.worked()
            case NotConnected(why=why):
                self._problem = ErrorInfo(ErrorCode.NOT_READY, why)
                log.warning("fleet_not_connected", message=why)
            case _:
                self._sessions.take(self._box(event.box), event)

    def _address(self) -> str:
        """Of the fleet's listener, as boxes reach it."""
        return self._settings.fleet_address(self._host, self._port)

    def _cancel(self, box: RemoteBox, job_id: JobId) -> None:
        if (task := box.task(job_id)) is not None:
            self._command(box, Cancel(job_id, task.attempt))

    def _command(self, box: RemoteBox, command: BoxCommand) -> None:
        self._link.send(ToBox(box.name, command))

    def _room(self) -> list[Vacancy]:
        return [vacancy for box in self._open_boxes() for vacancy in box.vacancies()]

    def _open_boxes(self) -> list[RemoteBox]:
        """Those that are to get jobs."""
        return [box for box in self._boxes.values() if box.name not in self._cordon]

    def _box(self, name: str) -> RemoteBox:
        """The box of this name, which may have come only now."""
        if name not in self._boxes:
            self._boxes[name] = RemoteBox(name, next(self._first_indices))
        return self._boxes[name]

    async def _look_around(self) -> None:
        """For boxes that are silent, and for those that did not answer when they were asked to join."""
        limit_s = self._settings.fleet_silence_s
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            self._helpers.match(self._open_boxes())
            for box in list(self._boxes.values()):
                if box.is_silent(limit_s):
                    self._sessions.lose(box, f"gave no sign of life for {limit_s:g} s (WORKER_FLEET_SILENCE_SECONDS)")
                elif box.is_forgotten:
                    del self._boxes[box.name]
