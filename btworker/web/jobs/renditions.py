"""What players get of a job's inputs: the sound, its peaks, and tickets for both. Parent; engine/sound/rendition.py
makes the files."""

from aiohttp import web

from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import Job
from btworker.renditions import Rendition
from btworker.tickets import PARAMETER
from btworker.web.context import caller_of, context_of
from btworker.web.files import StoredFile, send_file
from btworker.web.jobs.handlers import job_id_of, json_answer
from btworker.web.schemas import Wire, rfc3339


class TicketWire(Wire):
    """Addresses of an input's sound and peaks that need no token until they expire."""

    audio_url: str
    peaks_url: str
    expires_at: str


async def get_audio(request: web.Request) -> web.StreamResponse:
    """GET /v1/jobs/{id}/inputs/{index}/audio"""
    job, rendition = await _found(request)
    path = context_of(request).data.folder(job.id).rendition(rendition.index).audio
    name = f"{job.inputs[rendition.index].stem}.m4a"
    return await _sent(request, StoredFile(path, name, rendition.audio.sha256, "audio/mp4"))


async def get_peaks(request: web.Request) -> web.StreamResponse:
    """GET /v1/jobs/{id}/inputs/{index}/peaks"""
    job, rendition = await _found(request)
    path = context_of(request).data.folder(job.id).rendition(rendition.index).peaks
    name = f"{job.inputs[rendition.index].stem}.peaks"
    return await _sent(request, StoredFile(path, name, rendition.peaks.sha256))


async def create_ticket(request: web.Request) -> web.StreamResponse:
    """POST /v1/jobs/{id}/inputs/{index}/tickets: 201."""
    job, rendition = await _found(request)
    tickets, holder = context_of(request).tickets, caller_of(request).owner
    paths = [f"/v1/jobs/{job.id}/inputs/{rendition.index}/{name}" for name in ("audio", "peaks")]
    issued = [tickets.issue(path, holder) for path in paths]
    audio, peaks = (f"{path}?{PARAMETER}={ticket}" for path, (ticket, _) in zip(paths, issued, strict=True))
    expires_at = rfc3339(min(moment for _, moment in issued)) or ""
    return json_answer(TicketWire(audio_url=audio, peaks_url=peaks, expires_at=expires_at), status=201)


async def _found(request: web.Request) -> tuple[Job, Rendition]:
    job = await context_of(request).service.get(job_id_of(request))
    index = request.match_info["index"]
    for rendition in job.renditions:
        if str(rendition.index) == index:
            return job, rendition
    if not (index.isascii() and index.isdecimal() and int(index[:9]) < len(job.inputs)):
        raise BtworkerError(ErrorCode.NOT_FOUND, f"the job has {len(job.inputs)} input(s), counted from 0")
    raise BtworkerError(ErrorCode.NOT_FOUND, "nothing of this input can be played back: the job's warnings may say why")


async def _sent(request: web.Request, stored: StoredFile) -> web.StreamResponse:
    try:
        return await send_file(request, context_of(request).data, stored)
    except FileNotFoundError:
        raise BtworkerError(ErrorCode.NOT_FOUND, "the file was deleted") from None
