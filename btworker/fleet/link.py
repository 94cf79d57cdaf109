"""The gateway as the front end sees it: a child that is started again, for ever, when it ends. Front end's loop."""

import asyncio
from collections.abc import Callable

from btworker.fleet import gateway
from btworker.fleet.records import GatewayEvent, GatewaySpec, ToBox
from btworker.logs import get_logger
from btworker.pool.backoff import Backoff
from btworker.pool.limits import STOP_GRACE_S
from btworker.pool.process import ChildProcess, Gone, Spawned

log = get_logger()


class GatewayLink:
    """One gateway at a time. `deliver` takes its events, and Gone at its end."""

    def __init__(self, spec: GatewaySpec, deliver: Callable[[GatewayEvent | Gone], None]) -> None:
        self._spec = spec
        self._deliver = deliver
        self._child: ChildProcess[GatewayEvent] | None = None
        self._backoff = Backoff()
        self._timer: asyncio.TimerHandle | None = None
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """The gateway's process id."""
        return None if self._child is None else self._child.pid

    def start(self) -> None:
        """Spawn a gateway. Main thread only."""
        try:
            self._child = ChildProcess[GatewayEvent](
                Spawned(self._spec, main=gateway.main, name="gateway"), self._on_event
            )
        except OSError as error:  # no memory, processes or descriptors left: that may change
            log.warning("gateway_not_started", message=f"the fleet's gateway could not be started: {error.strerror}")
            self._later()
            return
        log.info("gateway_started", gatewayPid=self._child.pid)

    def send(self, command: ToBox) -> None:
        """Have the gateway send a box a command; without a gateway, whose end was reported, nothing is sent."""
        if self._child is not None:
            self._child.send(command)

    def worked(self) -> None:
        """It is in the cluster: the next end is not one more in a row."""
        self._backoff.worked()

    async def stop(self) -> None:
        """End it by the ladder, and start no other."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        if self._child is not None:
            await self._child.stop(grace_s=STOP_GRACE_S)

    def _on_event(self, event: GatewayEvent | Gone) -> None:
        if isinstance(event, Gone):
            self._child = None
            if self._stopping:
                return
            log.error("gateway_lost", message=f"the fleet's gateway {event.sentence}")
            self._later()
        self._deliver(event)

    def _later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._backoff.after_death(loaded=True), self.start)
