"""The OpenAI audio API, as its official clients use it: transcriptions, translations, models. Parent.

A request is an ordinary upload whose answer waits for the job's end. The same bytes with the same options are the same
job, so that a client that repeats its upload after a broken line joins it or gets its result; one that goes away does
not stop it.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import Input, Job, Options, OutputFormat
from btworker.outputs import FORMATS, Presentation, render
from btworker.transcript import Transcript
from btworker.web.context import IS_WAITING, WIRE, Context, context_of
from btworker.web.fields import bare
from btworker.web.interim import PROCESSING, counts_silence, send_interim
from btworker.web.jobs.form import Form
from btworker.web.jobs.references import NAMES as SPEAKER_NAMES
from btworker.web.jobs.references import REFERENCES as SPEAKER_REFERENCES
from btworker.web.jobs.submissions import accept
from btworker.web.middlewares import GROQ, RETRY_AFTER_S, request_id_of
from btworker.web.openai.fields import (
    OF_PEERS,
    bad,
    check_chunking,
    collect,
    flag,
    granularities,
    in_our_words,
    is_chunking,
    keywords,
    wants_logprobs,
)
from btworker.web.openai.names import NAMES, counts_tokens, lists_languages, means_default, tells_speakers
from btworker.web.openai.results import from_transcript, refusal
from btworker.web.openai.shapes import Diarized, Models, Plain, Reports, Verbose, diarized, model, plain, verbose
from btworker.web.openai.stream import stream
from btworker.web.option_fields import JSON_FIELD, Fields

RESPONSE_FORMATS = ("json", "text", "srt", "verbose_json", "vtt", "diarized_json")
TRANSLATION_FORMATS = RESPONSE_FORMATS[:5]
WITH_SPEAKERS = frozenset({"diarized_json", "srt", "vtt"})
"""Formats that show who speaks, where a model that tells speakers apart is asked for."""
WITH_SPEAKERS_IF_ASKED = WITH_SPEAKERS | {"verbose_json"}
"""Those that do where a field asks for it: OpenAI's verbose_json has no speakers."""
SUBTITLES = {"srt": OutputFormat.SRT, "vtt": OutputFormat.VTT}
"""Formats that are what they are among our own. `text` is not: it is the text in one line, as OpenAI has it."""
TAKES = ("channels", "multichannel", "start", "end", "ranges")
"""Options of ours, under our own names."""
KNOWN = (
    *("model", "language", "prompt", "temperature", "response_format"),
    *("timestamp_granularities", "stream", "include", "chunking_strategy", "languages", "url", "keywords"),
    *(SPEAKER_NAMES, SPEAKER_REFERENCES),
    *TAKES,
    *OF_PEERS,
)
AS_OURS = ("language", "languages", "prompt", "temperature", "url", *TAKES)
"""Fields that mean what our options of these names mean."""
REPEATABLE = frozenset(
    {"timestamp_granularities", "include", "languages", "ranges", "keywords", "hotwords", SPEAKER_NAMES}
)


@dataclass(slots=True)
class Asked:
    """What of a request is not an option of the job."""

    task: str
    own_models: frozenset[str] = frozenset()
    """Names that the operator gave, which go before OpenAI's."""
    response_format: str = "json"
    granularities: frozenset[str] = frozenset({"segment"})
    stream: bool = False
    speakers: bool = False
    """Whether a field asks for them."""
    logprobs: bool = False
    name: str = ""
    """OpenAI's name of a model, which says how usage is counted."""
    request_id: str = ""
    """For Groq's clients, which want to find it in the answer; empty for others."""

    def understand(self, fields: Fields) -> Fields:
        """OpenAI's form fields -> ours. Raises BAD_OPTION."""
        values = collect(fields, repeatable=REPEATABLE)
        for name, given in values.items():
            if not is_known(name):
                raise bad(name, f"{name[:64]!r} is not supported here; there are file, {', '.join(KNOWN)}")
            if name not in REPEATABLE and len(set(given)) > 1:
                raise bad(name, f"{name} is given twice")
        self._read(values)
        kept = ((name, in_our_words(name, values[name])) for name in AS_OURS if name in values)
        ours: list[tuple[str, str]] = [(name, value) for name, value in kept if value is not None]
        ours += self._of_model(values.get("model", [""])[-1])
        ours += ((SPEAKER_NAMES, name) for name in values.get(SPEAKER_NAMES, ()))
        if self.logprobs:
            ours.append(("tokenLogprobs", "true"))
        if terms := keywords(values):  # a list: what has a comma in it is one of them
            ours.append((JSON_FIELD, json.dumps({"keywords": terms})))
        return [*ours, ("task", self.task), ("outputs", OutputFormat.JSON.value)]

    def _of_model(self, name: str) -> Iterator[tuple[str, str]]:
        """What the model's name and the format say: which of ours, and whether speakers are told apart."""
        of_openai = means_default(name, own=self.own_models)
        self.name = name if of_openai else ""
        by_model = of_openai and tells_speakers(name) and self.response_format in WITH_SPEAKERS
        by_field = self.speakers and self.response_format in WITH_SPEAKERS_IF_ASKED
        if by_model or by_field or self.response_format == "diarized_json":
            yield "diarizationEnabled", "true"
        if name and not of_openai:
            yield "model", name

    @property
    def reports(self) -> Reports:
        """What the answer has beside the text."""
        return Reports(tokens=counts_tokens(self.name), languages=lists_languages(self.name), logprobs=self.logprobs)

    def _read(self, values: dict[str, list[str]]) -> None:
        formats = RESPONSE_FORMATS if self.task == "transcribe" else TRANSLATION_FORMATS
        self.response_format = values.get("response_format", ["json"])[-1]
        if self.response_format not in formats:
            raise bad("response_format", f"response_format must be one of {', '.join(formats)}")
        self.granularities = granularities(values, self.response_format)
        self.logprobs = wants_logprobs(values, self.response_format)
        check_chunking(values)
        self.stream, self.speakers = flag(values, "stream"), flag(values, "diarization") or flag(values, "diarize")
        flag(values, "vad_filter")

    def key(self, _request: web.Request, options: Options, inputs: tuple[Input, ...]) -> str | None:
        """The same bytes with the same options are the same job, whatever shape its answer is asked in; those of a URL
        are not known yet."""
        if not all(item.sha256 for item in inputs):
            return None
        facts = [repr(options), *(item.sha256 for item in inputs)]
        return "openai:" + hashlib.sha256("\n".join(facts).encode()).hexdigest()


def is_known(name: str) -> bool:
    """Whether a field of this name says something of the job; with brackets or without."""
    return bare(name) in KNOWN or is_chunking(name)


async def transcriptions(request: web.Request) -> web.StreamResponse:
    """POST /v1/audio/transcriptions"""
    return await _speech(request, Asked("transcribe"))


async def translations(request: web.Request) -> web.StreamResponse:
    """POST /v1/audio/translations"""
    return await _speech(request, Asked("translate"))


async def _speech(request: web.Request, asked: Asked) -> web.StreamResponse:
    context = context_of(request)
    asked.own_models = frozenset(_own_models(context))
    if request.path.startswith(f"{GROQ}/"):
        asked.request_id = request_id_of(request)
    job, _ = await accept(request, context, Form(asked.understand, asked.key, is_known, one_file=True))
    if asked.stream:
        shows_speakers = asked.response_format == "diarized_json"
        headers = rate_limit(context, job.owner)
        return await stream(request, context, job, asked.reports, speakers=shows_speakers, headers=headers)
    ended = await _ended(request, context, job)
    if ended is None:
        return web.Response(status=499)  # nobody is there to read it; the job goes on
    response = await _answer(context, ended, asked)
    response.headers.update(rate_limit(context, ended.owner))
    return response


def rate_limit(context: Context, owner: str) -> dict[str, str]:
    """How many more requests may wait, as OpenAI's clients read it; where none may, the next is refused with 429."""
    limit, left = context.service.limits.room(owner)
    reset_s = 0 if left else RETRY_AFTER_S[429]
    return {
        "x-ratelimit-limit-requests": str(limit),
        "x-ratelimit-remaining-requests": str(left),
        "x-ratelimit-reset-requests": f"{reset_s}s",
    }


async def _ended(request: web.Request, context: Context, job: Job) -> Job | None:
    """The job at its end; None when its client has gone away before."""
    waiting = asyncio.create_task(context.service.ended(job.id), name=f"openai-{job.id}")
    every_s = context.settings.interim_s if counts_silence(request) else 0
    sent_at = time.monotonic()
    try:
        while not (await asyncio.wait({waiting}, timeout=1.0))[0]:
            if _has_left(request):
                return None
            if every_s and time.monotonic() - sent_at >= every_s:
                await send_interim(request, PROCESSING)
                request[IS_WAITING] = True
                sent_at = time.monotonic()
        return waiting.result()
    finally:
        waiting.cancel()


def _has_left(request: web.Request) -> bool:
    if request.transport is None or request.transport.is_closing():
        return True
    return WIRE in request and request[WIRE].is_left()


async def _answer(context: Context, job: Job, asked: Asked) -> web.Response:
    if (refused := refusal(job)) is not None:
        return refused
    text, content_type = await from_transcript(context, job, partial(_body, stem=job.inputs[0].stem, asked=asked))
    return web.Response(body=text.encode("utf-8", "replace"), headers={"Content-Type": content_type})


def _body(transcript: Transcript, *, stem: str, asked: Asked) -> tuple[str, str]:
    """Blocking: the answer's text and its type."""
    if asked.response_format == "text":
        return f"{transcript.text.strip()}\n", FORMATS[OutputFormat.TXT].content_type
    if (kind := SUBTITLES.get(asked.response_format)) is not None:
        return render(transcript, kind, Presentation(title=stem)), FORMATS[kind].content_type
    shape = _shape(transcript, asked)
    if asked.request_id:
        shape["x_groq"] = {"id": f"req_{asked.request_id}"}
    return json.dumps(shape), "application/json; charset=utf-8"


def _shape(transcript: Transcript, asked: Asked) -> Plain | Verbose | Diarized:
    if asked.response_format == "verbose_json":
        return verbose(transcript, task=asked.task, granularities=asked.granularities)
    if asked.response_format == "diarized_json":
        return diarized(transcript)
    return plain(transcript, asked.reports)


async def list_models(request: web.Request) -> web.StreamResponse:
    """GET /v1/models"""
    names = _models(context_of(request))
    models: Models = {"object": "list", "data": [model(name) for name in names]}
    return web.json_response(models)


async def get_model(request: web.Request) -> web.StreamResponse:
    """GET /v1/models/{model}"""
    name = request.match_info["model"]
    if name not in _models(context_of(request)):
        raise BtworkerError(ErrorCode.NOT_FOUND, "there is no such model here", param="model")
    return web.json_response(model(name))


def _models(context: Context) -> Sequence[str]:
    return tuple(dict.fromkeys((*_own_models(context), *NAMES)))


def _own_models(context: Context) -> Sequence[str]:
    return (*context.settings.model_paths, *context.settings.aliases)
