"""The table of URLs, and who may use them. Nothing else.

Default deny: a route wants a token unless it says otherwise here. Parent; app.py reads this once, at start.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum

from aiohttp import web

from btworker.config import Settings
from btworker.web import events, fallback, jobs, openai, system, transcripts, tus, uploads


class Access(Enum):
    """Who may use a route."""

    TOKEN = "token"  # noqa: S105 - the name of a rule
    OPEN = "open"
    PING = "open with WORKER_PING_PUBLIC"
    METRICS = "open unless WORKER_METRICS_PUBLIC=false"


@dataclass(frozen=True, slots=True)
class Route:
    """One method and pattern, and what answers it."""

    method: str
    path: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    access: Access = Access.TOKEN


ROUTES = (
    Route("GET", "/health", system.health, Access.OPEN),
    Route("GET", "/health/live", system.live, Access.OPEN),
    Route("GET", "/health/ready", system.ready, Access.OPEN),
    Route("GET", "/metrics", system.metrics, Access.METRICS),
    Route("GET", "/v1/ping", system.ping, Access.PING),
    Route("GET", "/v1/preflight", system.preflight),
    Route("POST", "/v1/jobs", uploads.create_job),
    Route("GET", "/v1/jobs", jobs.list_jobs),
    Route("GET", "/v1/jobs/{job_id}", jobs.get_job),
    Route("DELETE", "/v1/jobs/{job_id}", jobs.delete_job),
    Route("POST", "/v1/jobs/{job_id}/cancel", jobs.cancel_job),
    Route("GET", "/v1/jobs/{job_id}/events", events.events),
    Route("GET", "/v1/jobs/{job_id}/transcript", transcripts.get_transcript),
    Route("GET", "/v1/jobs/{job_id}/outputs", jobs.list_outputs),
    Route("GET", "/v1/jobs/{job_id}/outputs/{name:[^/]+}", jobs.get_output),
    Route("POST", "/v1/audio/transcriptions", openai.transcriptions),
    Route("POST", "/v1/audio/translations", openai.translations),
    Route("GET", "/v1/models", openai.list_models),
    Route("GET", "/v1/models/{model}", openai.get_model),
    Route("OPTIONS", "/v1/uploads", tus.options),
    Route("POST", "/v1/uploads", tus.create),
    Route("OPTIONS", "/v1/uploads/{upload_id}", tus.options),
    Route("HEAD", "/v1/uploads/{upload_id}", tus.look),
    Route("PATCH", "/v1/uploads/{upload_id}", tus.append),
    Route("DELETE", "/v1/uploads/{upload_id}", tus.terminate),
    Route("POST", "/v1/uploads/{upload_id}", tus.override),
    Route("*", fallback.PATTERN, fallback.refuse),
)
"""The last one takes every request that none above took: 404 or 405, behind the token like the rest.

A plain {name} would match no name that has a brace in it.
"""


def open_paths(settings: Settings) -> frozenset[str]:
    """The patterns that need no token under these settings."""
    open_now = {
        Access.OPEN: True,
        Access.PING: settings.ping_public,
        Access.METRICS: settings.metrics_public,
        Access.TOKEN: False,
    }
    return frozenset(route.path for route in ROUTES if open_now[route.access])
