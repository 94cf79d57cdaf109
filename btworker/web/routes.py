"""The table of URLs, and who may use them. Nothing else.

Default deny: a route is the admin's unless it says otherwise here. What a path names by {job_id}, {upload_id} or
{voice_id} is its owner's (access.py). Parent; app.py reads this once, at start.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from btworker.config import Settings
from btworker.web import fallback, usage, voices
from btworker.web.access import (
    ADMIN,
    ANY_KEY,
    LOOK,
    METRICS,
    OPEN,
    PING,
    READ,
    READ_OR_TICKET,
    READ_TEXT,
    SUBMIT,
    SUBMIT_AND_READ,
    Access,
)
from btworker.web.contract import corrections as about_corrections
from btworker.web.contract import groq as about_groq
from btworker.web.contract import jobs as about_jobs
from btworker.web.contract import renditions as about_renditions
from btworker.web.contract import speech as about_speech
from btworker.web.contract import system as about_system
from btworker.web.contract import uploads as about_uploads
from btworker.web.contract import usage as about_usage
from btworker.web.contract import voices as about_voices
from btworker.web.contract.operation import Operation
from btworker.web.jobs import corrections, events, renditions, submissions, transcripts
from btworker.web.jobs import handlers as jobs
from btworker.web.openai import handlers as openai
from btworker.web.page import handlers as page
from btworker.web.system import docs
from btworker.web.system import handlers as system
from btworker.web.tus import handlers as tus


@dataclass(frozen=True, slots=True)
class Route:
    """One method and pattern, and what answers it."""

    method: str
    path: str
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    about: Operation | None
    """What /openapi.json says of it; None for what is no route of its own."""
    access: Access = ADMIN


_INPUT = "/v1/jobs/{job_id}/inputs/{index}"
ROUTES = (
    Route("GET", "/", page.page, about_system.WELCOME, OPEN),
    Route("GET", "/page/{name}", page.asset, about_system.PAGE_ASSET, OPEN),
    Route("GET", "/openapi.json", docs.document, about_system.DOCUMENT, OPEN),
    Route("GET", "/docs", docs.page, about_system.PAGE, OPEN),
    Route("GET", "/docs/{name}", docs.asset, about_system.ASSET, OPEN),
    Route("GET", "/health", system.health, about_system.HEALTH, OPEN),
    Route("GET", "/health/live", system.live, about_system.LIVE, OPEN),
    Route("GET", "/health/ready", system.ready, about_system.READY, OPEN),
    Route("GET", "/metrics", system.metrics, about_system.METRICS, METRICS),
    Route("GET", "/v1/ping", system.ping, about_system.PING, PING),
    Route("GET", "/v1/preflight", system.preflight, about_system.PREFLIGHT, ANY_KEY),
    Route("POST", "/v1/jobs", submissions.create_job, about_jobs.CREATE, SUBMIT),
    Route("GET", "/v1/jobs", jobs.list_jobs, about_jobs.LIST, READ),
    Route("GET", "/v1/jobs/{job_id}", jobs.get_job, about_jobs.GET, READ),
    Route("DELETE", "/v1/jobs/{job_id}", jobs.delete_job, about_jobs.DELETE, SUBMIT),
    Route("POST", "/v1/jobs/{job_id}/cancel", jobs.cancel_job, about_jobs.CANCEL, SUBMIT),
    Route("GET", "/v1/jobs/{job_id}/events", events.events, about_jobs.EVENTS, READ_TEXT),
    Route("GET", "/v1/jobs/{job_id}/transcript", transcripts.get_transcript, about_jobs.TRANSCRIPT, READ_TEXT),
    Route("GET", "/v1/jobs/{job_id}/outputs", jobs.list_outputs, about_jobs.OUTPUTS, READ),
    Route("GET", "/v1/jobs/{job_id}/outputs/{name:[^/]+}", jobs.get_output, about_jobs.OUTPUT, READ_TEXT),
    Route("GET", "/v1/jobs/{job_id}/corrections", corrections.get, about_corrections.GET, READ_TEXT),
    Route("PATCH", "/v1/jobs/{job_id}/corrections", corrections.correct, about_corrections.CORRECT, SUBMIT),
    Route("GET", "/v1/jobs/{job_id}/corrections/history", corrections.history, about_corrections.HISTORY, READ_TEXT),
    Route("GET", f"{_INPUT}/audio", renditions.get_audio, about_renditions.AUDIO, READ_OR_TICKET),
    Route("GET", f"{_INPUT}/peaks", renditions.get_peaks, about_renditions.PEAKS, READ_OR_TICKET),
    Route("POST", f"{_INPUT}/tickets", renditions.create_ticket, about_renditions.TICKETS, READ_TEXT),
    Route("POST", "/v1/audio/transcriptions", openai.transcriptions, about_speech.TRANSCRIBE, SUBMIT_AND_READ),
    Route("POST", "/v1/audio/translations", openai.translations, about_speech.TRANSLATE, SUBMIT_AND_READ),
    Route("POST", "/openai/v1/audio/transcriptions", openai.transcriptions, about_groq.TRANSCRIBE, SUBMIT_AND_READ),
    Route("POST", "/openai/v1/audio/translations", openai.translations, about_groq.TRANSLATE, SUBMIT_AND_READ),
    Route("GET", "/openai/v1/models", openai.list_models, about_groq.MODELS, ANY_KEY),
    Route("GET", "/openai/v1/models/{model:.+}", openai.get_model, about_groq.MODEL, ANY_KEY),
    Route("POST", "/v1/voices", voices.create, about_voices.CREATE, SUBMIT),
    Route("GET", "/v1/voices", voices.list_all, about_voices.LIST, READ),
    Route("DELETE", "/v1/voices/{voice_id}", voices.delete, about_voices.DELETE, SUBMIT),
    Route("GET", "/v1/usage", usage.usage, about_usage.USAGE, READ),
    Route("GET", "/v1/models", openai.list_models, about_speech.MODELS, ANY_KEY),
    Route("GET", "/v1/models/{model:.+}", openai.get_model, about_speech.MODEL, ANY_KEY),
    Route("OPTIONS", "/v1/uploads", tus.options, about_uploads.OPTIONS, ANY_KEY),
    Route("POST", "/v1/uploads", tus.create, about_uploads.CREATE, SUBMIT),
    Route("OPTIONS", "/v1/uploads/{upload_id}", tus.options, about_uploads.OPTIONS_OF_ONE, ANY_KEY),
    Route("HEAD", "/v1/uploads/{upload_id}", tus.look, about_uploads.LOOK, LOOK),
    Route("PATCH", "/v1/uploads/{upload_id}", tus.append, about_uploads.APPEND, SUBMIT),
    Route("DELETE", "/v1/uploads/{upload_id}", tus.terminate, about_uploads.TERMINATE, SUBMIT),
    Route("POST", "/v1/uploads/{upload_id}", tus.override, about_uploads.OVERRIDE, SUBMIT),
    Route("*", fallback.PATTERN, fallback.refuse, None, ANY_KEY),
)
"""The last one takes every request that none above took: 404 or 405, behind the token like the rest.

A plain {name} would match no name that has a brace in it.
"""


def open_paths(settings: Settings) -> frozenset[str]:
    """The patterns that need no token under these settings."""
    return frozenset(route.path for route in ROUTES if route.access.door.is_open(settings))
