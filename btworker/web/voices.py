"""/v1/voices: people whom jobs may know by name. The sound is a job's input; what is kept of it are numbers. Parent.

POST --> uploads.accept: a job of task ENROLL --> the child embeds the voice --> service/voices.py --> 201
"""

from functools import partial

from aiohttp import web

from btworker.config import Settings
from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import ENROLL, Job, JobStatus, KnownSpeaker, Options
from btworker.service.voices import StoredVoice, Voices
from btworker.voices import ENROLLED, Voice
from btworker.web.context import Context, caller_of, context_of
from btworker.web.jobs.form import Form
from btworker.web.jobs.handlers import json_answer
from btworker.web.jobs.submissions import accept
from btworker.web.middlewares import error_response
from btworker.web.openai.results import CLIENTS_FAULT
from btworker.web.option_fields import Fields
from btworker.web.schemas import Wire, rfc3339
from btworker.web.speaker_names import clean_name

FIRST = 9
"""Priority: somebody waits for the answer, and it is a moment's work."""


class VoiceWire(Wire):
    """A stored voice; `model` says which embedding made it, `seconds` how much sound it was made of."""

    id: str
    name: str
    created_at: str
    seconds: float
    dimension: int
    model: str
    owner: str
    """Name of the key that stored it."""


class VoiceListWire(Wire):
    """All that are stored."""

    voices: tuple[VoiceWire, ...]


async def create(request: web.Request) -> web.StreamResponse:
    """POST /v1/voices: 201 once the voice is stored; a bad recording is 400."""
    context = context_of(request)
    options = partial(_options, context.voices, caller_of(request).owner)
    form = Form(key=lambda *_: None, is_option=lambda name: name == "name", options=options)
    job, _ = await accept(request, context, form)
    job = await context.service.ended(job.id)
    try:
        if job.status is not JobStatus.COMPLETE:
            return _refusal(job)
        stored = await _kept(context, job)
    finally:
        await context.service.delete(job.id)
    return json_answer(_wire(context, stored), status=201)


def _options(voices: Voices, owner: str, fields: Fields, settings: Settings) -> Options:
    """The fields of a voice -> the options of its job; the name may be missing yet, where it stands behind the file.
    Raises BAD_OPTION for a bad name, CONFLICT for one that is taken."""
    unknown = next((name for name, _ in fields if name != "name"), None)
    if unknown is not None or len(fields) > 1:
        raise BtworkerError(ErrorCode.BAD_OPTION, "send one name and one file, and nothing else", param="name")
    name = clean_name(fields[0][1], param="name") if fields else ""
    if fields:
        voices.check_new(name, owner)
    known = (KnownSpeaker(name),)
    return Options(settings.model, task=ENROLL, diarization_enabled=True, known_speakers=known, priority=FIRST)


async def _kept(context: Context, job: Job) -> StoredVoice:
    path = context.data.folder(job.id).path / ENROLLED
    voice = Voice.from_json(await context.data.run(path.read_bytes))
    return await context.data.run(context.voices.add, job.options.known_speakers[0].name, voice, job.owner)


def _refusal(job: Job) -> web.Response:
    code = ErrorCode.INTERNAL if job.error is None else job.error.code
    message = "the job of the voice ended without one" if job.error is None else job.error.message
    status = 400 if code in CLIENTS_FAULT else 503 if code is ErrorCode.MODEL_UNAVAILABLE else 500
    return error_response(code, message, status=status)


async def list_all(request: web.Request) -> web.StreamResponse:
    """GET /v1/voices"""
    context = context_of(request)
    voices = context.voices.all(caller_of(request).view)
    return json_answer(VoiceListWire(voices=tuple(_wire(context, one) for one in voices)))


async def delete(request: web.Request) -> web.StreamResponse:
    """DELETE /v1/voices/{voice_id}: 204; jobs that were submitted with it keep it."""
    context = context_of(request)
    await context.data.run(context.voices.remove, request.match_info["voice_id"])
    return web.Response(status=204)


def _wire(context: Context, stored: StoredVoice) -> VoiceWire:
    return VoiceWire(
        id=stored.id,
        name=stored.name,
        created_at=rfc3339(stored.created_at) or "",
        seconds=stored.voice.seconds,
        dimension=len(stored.voice.embedding),
        model=stored.voice.model,
        owner=context.service.keys.name_of(stored.owner),
    )
