"""The table of URLs, and who may use them. Nothing else.

Default deny: a route wants a token unless it says otherwise here. Parent; app.py reads this once, at start.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum

from aiohttp import web

from btworker.config import Settings
from btworker.web import fallback, voices
from btworker.web.contract import jobs as about_jobs
from btworker.web.contract import speech as about_speech
from btworker.web.contract import system as about_system
from btworker.web.contract import uploads as about_uploads
from btworker.web.contract import voices as about_voices
from btworker.web.contract.operation import Operation
from btworker.web.jobs import events, transcripts, uploads
from btworker.web.jobs import handlers as jobs
from btworker.web.openai import handlers as openai
from btworker.web.system import docs
from btworker.web.system import handlers as system
from btworker.web.tus import handlers as tus


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
    about: Operation | None
    """What /openapi.json says of it; None for what is no route of its own."""
    access: Access = Access.TOKEN


ROUTES = (
    Route("GET", "/", docs.welcome, about_system.WELCOME, Access.OPEN),
    Route("GET", "/openapi.json", docs.document, about_system.DOCUMENT, Access.OPEN),
    Route("GET", "/docs", docs.page, about_system.PAGE, Access.OPEN),
    Route("GET", "/docs/{name}", docs.asset, about_system.ASSET, Access.OPEN),
    Route("GET", "/health", system.health, about_system.HEALTH, Access.OPEN),
    Route("GET", "/health/live", system.live, about_system.LIVE, Access.OPEN),
    Route("GET", "/health/ready", system.ready, about_system.READY, Access.OPEN),
    Route("GET", "/metrics", system.metrics, about_system.METRICS, Access.METRICS),
    Route("GET", "/v1/ping", system.ping, about_system.PING, Access.PING),
    Route("GET", "/v1/preflight", system.preflight, about_system.PREFLIGHT),
    Route("POST", "/v1/jobs", uploads.create_job, about_jobs.CREATE),
    Route("GET", "/v1/jobs", jobs.list_jobs, about_jobs.LIST),
    Route("GET", "/v1/jobs/{job_id}", jobs.get_job, about_jobs.GET),
    Route("DELETE", "/v1/jobs/{job_id}", jobs.delete_job, about_jobs.DELETE),
    Route("POST", "/v1/jobs/{job_id}/cancel", jobs.cancel_job, about_jobs.CANCEL),
    Route("GET", "/v1/jobs/{job_id}/events", events.events, about_jobs.EVENTS),
    Route("GET", "/v1/jobs/{job_id}/transcript", transcripts.get_transcript, about_jobs.TRANSCRIPT),
    Route("GET", "/v1/jobs/{job_id}/outputs", jobs.list_outputs, about_jobs.OUTPUTS),
    Route("GET", "/v1/jobs/{job_id}/outputs/{name:[^/]+}", jobs.get_output, about_jobs.OUTPUT),
    Route("POST", "/v1/audio/transcriptions", openai.transcriptions, about_speech.TRANSCRIBE),
    Route("POST", "/v1/audio/translations", openai.translations, about_speech.TRANSLATE),
    Route("POST", "/v1/voices", voices.create, about_voices.CREATE),
    Route("GET", "/v1/voices", voices.list_all, about_voices.LIST),
    Route("DELETE", "/v1/voices/{voice_id}", voices.delete, about_voices.DELETE),
    Route("GET", "/v1/models", openai.list_models, about_speech.MODELS),
    Route("GET", "/v1/models/{model}", openai.get_model, about_speech.MODEL),
    Route("OPTIONS", "/v1/uploads", tus.options, about_uploads.OPTIONS),
    Route("POST", "/v1/uploads", tus.create, about_uploads.CREATE),
    Route("OPTIONS", "/v1/uploads/{upload_id}", tus.options, about_uploads.OPTIONS_OF_ONE),
    Route("HEAD", "/v1/uploads/{upload_id}", tus.look, about_uploads.LOOK),
    Route("PATCH", "/v1/uploads/{upload_id}", tus.append, about_uploads.APPEND),
    Route("DELETE", "/v1/uploads/{upload_id}", tus.terminate, about_uploads.TERMINATE),
    Route("POST", "/v1/uploads/{upload_id}", tus.override, about_uploads.OVERRIDE),
    Route("*", fallback.PATTERN, fallback.refuse, None),
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
