"""The OpenAI audio API in words. Handlers: web/openai/handlers.py."""

from btworker.errors import ErrorCode
from btworker.jobs import OutputFormat
from btworker.outputs import FORMATS
from btworker.web.contract.jobs import ADMISSION, KNOWN_SPEAKERS
from btworker.web.contract.operation import (
    BINARY,
    FORM,
    JSON,
    TEXT,
    Answer,
    Content,
    Form,
    Header,
    Operation,
    Schema,
    Shape,
    events,
    json_of,
    refused,
)
from btworker.web.language_options import MOST as MOST_LANGUAGES
from btworker.web.openai.fields import GRANULARITIES
from btworker.web.openai.handlers import RESPONSE_FORMATS, SUBTITLES, TAKES, TRANSLATION_FORMATS
from btworker.web.openai.shapes import Diarized, Model, Models, Plain, Verbose
from btworker.web.options import OptionsForm

TAG = "audio"
_SPOKEN: Content = {
    JSON: Shape(Plain | Verbose | Diarized),
    **{FORMATS[kind].content_type.partition(";")[0]: TEXT for kind in (OutputFormat.TXT, *SUBTITLES.values())},
    **events("message"),
}
_AGAIN = Header("x-should-retry", "whether OpenAI's clients send it once more", {"enum": ["true", "false"]})
_COUNT: Schema = {"type": "string", "pattern": "^[0-9]+$"}
_ROOM = (
    Header("x-ratelimit-limit-requests", "jobs that may wait", _COUNT, required=True),
    Header("x-ratelimit-remaining-requests", "how many more may wait now", _COUNT, required=True),
    Header(
        "x-ratelimit-reset-requests", "when to try again", {"type": "string", "pattern": "^[0-9]+s$"}, required=True
    ),
)
_ANSWERS = {
    200: Answer("what was said, as response_format and stream ask", _SPOKEN, _ROOM),
    400: refused("the request is refused, or the sound cannot be understood", _AGAIN),
    409: refused("the job was canceled: CANCELED", _AGAIN),
    500: refused("the job failed, with the code of its failure; INTERNAL", _AGAIN),
}
_REFUSALS = (*ADMISSION, ErrorCode.NOT_FOUND)


_OURS = OptionsForm.model_json_schema()["properties"]
"""Options of ours that mean the same here."""
_SPEAKERS = "speakers, in verbose_json, diarized_json, srt and vtt; as speaches and LocalAI have it"


def _form(formats: tuple[str, ...]) -> Content:
    """What OpenAI's clients send, as far as it has a meaning here."""
    fields: Schema = {
        "file": BINARY,
        "url": {"type": "string", "description": "where the recording is, in place of a file"},
        "model": {
            "type": "string",
            "description": "a name of /v1/models, or any of OpenAI's transcription models: WORKER_MODEL",
        },
        "language": TEXT,
        "languages[]": {"type": "array", "items": TEXT, "maxItems": MOST_LANGUAGES},
        "prompt": TEXT,
        "keywords[]": {"type": "array", "items": TEXT, "description": "names and terms that are likely"},
        "temperature": {"type": "number", "minimum": 0, "maximum": 1},
        "response_format": {"enum": list(formats), "default": formats[0]},
        "timestamp_granularities[]": {"type": "array", "items": {"enum": sorted(GRANULARITIES)}},
        "stream": {"type": "boolean", "default": False},
        **KNOWN_SPEAKERS,
        **{name: _OURS[name] for name in TAKES},
        "include[]": {
            "type": "array",
            "items": {"enum": ["logprobs"]},
            "description": "log-probabilities of the tokens, with response_format json",
        },
        "chunking_strategy": {
            "enum": ["auto", "server_vad"],
            "description": "accepted, without effect: sound is cut where nobody speaks",
        },
        "hotwords": {"type": "string", "description": "keywords with commas between them, as speaches has it"},
        "vad_filter": {"type": "boolean", "description": "accepted, without effect, like chunking_strategy"},
        **{name: {"type": "boolean", "description": _SPEAKERS} for name in ("diarization", "diarize")},
    }
    return {FORM: Form(fields, ())}


TRANSCRIBE = Operation(
    "transcribe",
    TAG,
    "What was said, as OpenAI's clients ask",
    _ANSWERS,
    _REFUSALS,
    more="The answer waits for the job. The same bytes with the same options are the same job.",
    body=_form(RESPONSE_FORMATS),
)
TRANSLATE = Operation(
    "translate",
    TAG,
    "What was said, in English, as OpenAI's clients ask",
    _ANSWERS,
    _REFUSALS,
    body=_form(TRANSLATION_FORMATS),
)
MODELS = Operation("listModels", TAG, "Names that a request may ask for", {200: Answer("all of them", json_of(Models))})
MODEL = Operation(
    "getModel",
    TAG,
    "One of them",
    {200: Answer("the model", json_of(Model))},
    (ErrorCode.NOT_FOUND,),
    path={"model": {"type": "string", "minLength": 1}},
)
