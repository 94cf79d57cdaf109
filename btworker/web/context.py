"""What handlers find in the application and in the request: typed keys, and nothing else."""

from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import web

from btworker.config import Settings
from btworker.delivery.guard import Guard
from btworker.keys import Caller
from btworker.metrics import Metrics
from btworker.pool.gpu_watch import GpuWatch
from btworker.receiving.wire import Receivers, Wire
from btworker.service import JobService
from btworker.service.live import Feeds
from btworker.service.resumable import ResumableUploads
from btworker.service.voices import Voices
from btworker.specs import Device
from btworker.storage import DataFolder
from btworker.tickets import Tickets
from btworker.web.system.looks import Looks
from btworker.web.system.static import Static


@dataclass(slots=True)
class UploadBudget:
    """Bytes that the uploads under way have announced and not yet written: room that is spoken for."""

    promised_bytes: int = 0


@dataclass(slots=True)
class Machine:
    """What was found out about this box after the start."""

    gpus: tuple[Device, ...] = ()
    gpu_watch: GpuWatch = field(default_factory=lambda: GpuWatch(()))
    """Readings of the workers' GPUs."""


@dataclass(frozen=True, slots=True)
class Context:
    """Everything that a handler may use."""

    settings: Settings
    service: JobService
    data: DataFolder
    """The files of jobs and uploads."""
    resumable: ResumableUploads
    """Uploads that survive their connection."""
    voices: Voices
    """Stored voices of people whom jobs may know."""
    feeds: Feeds
    """Live events of jobs."""
    guard: Guard
    """Where the service may connect to."""
    metrics: Metrics
    receivers: Receivers
    """The threads that read large bodies."""
    tickets: Tickets
    """What opens one path without a token."""
    contract: Callable[[], Static]
    """Blocking: /openapi.json."""
    looks: Looks
    """At the disk and the job table."""
    budget: UploadBudget = field(default_factory=UploadBudget)
    machine: Machine = field(default_factory=Machine)


CONTEXT = web.AppKey("context", Context)
REQUEST_ID = web.RequestKey("request_id", str)
"""request[REQUEST_ID] is a sane id, taken from the client or made."""
HAS_TOKEN = web.RequestKey("has_token", bool)
"""request[HAS_TOKEN]: a valid token came with it, whether or not its route wants one."""
CALLER = web.RequestKey("caller", Caller)
"""request[CALLER] is who sent it; not there without a valid token, which open routes do without."""
TOUCHED = web.RequestKey("touched", str)
"""request[TOUCHED] is the id of the job that an upload became, where no header of the answer names it."""
IS_INVITED = web.RequestKey("is_invited", bool)
"""request[IS_INVITED]: its client asked whether the body is welcome, and got 100 Continue."""
IS_WAITING = web.RequestKey("is_waiting", bool)
"""request[IS_WAITING]: its client got 102 Processing."""
WIRE = web.RequestKey("wire", Wire)
"""request[WIRE] reads the rest of its body, past aiohttp; not there where aiohttp reads it."""
ROUTE_PATTERN = web.RequestKey("route_pattern", str)
"""request[ROUTE_PATTERN] is the pattern of its route, or "other"; not there where the parser refused the request."""


def caller_of(request: web.Request) -> Caller:
    """Who sent a request to a route that wants a token."""
    return request[CALLER]


def context_of(request: web.Request) -> Context:
    """The context of the application that this request came to."""
    return request.app[CONTEXT]
