"""Corrections in words. Handlers: web/jobs/corrections.py."""

from btworker.errors import ErrorCode
from btworker.web.contract.operation import (
    JSON,
    STORE,
    WHOLE_NUMBER,
    Answer,
    Header,
    Operation,
    Query,
    Shape,
    json_of,
    refused,
)
from btworker.web.jobs.corrections import (
    DEFAULT_CHANGES,
    MAX_CHANGES,
    SHAPES,
    ChangeWire,
    CorrectionForm,
    CorrectionsWire,
    HistoryWire,
)

TAG = "corrections"
_FOUND = (ErrorCode.NOT_FOUND, *STORE)
_ETAG = Header("ETag", "the version in quotes", {"type": "string", "pattern": '^"[0-9]{1,9}"$'}, required=True)

GET = Operation(
    "getCorrections",
    TAG,
    "What people corrected in a job's transcripts",
    {
        200: Answer("all of it, at a version", json_of(CorrectionsWire), (_ETAG,)),
        304: Answer("the client has it already", headers=(_ETAG,)),
    },
    _FOUND,
    more="Version 0 is what the engine found. `GET …/transcript` has the corrections in every format.",
    headers=(Header("If-None-Match", "304 for this ETag"),),
    query=(Query("version", "as it was then; the newest without", WHOLE_NUMBER),),
)
CORRECT = Operation(
    "correctJob",
    TAG,
    "Correct a transcript, or bring an earlier version back",
    {
        200: Answer("the change, durable, with its version", json_of(ChangeWire), (_ETAG,)),
        412: refused("somebody else has changed them meanwhile: PRECONDITION_FAILED"),
    },
    (
        *(*_FOUND, ErrorCode.BAD_OPTION, ErrorCode.CONFLICT, ErrorCode.PRECONDITION_REQUIRED),
        *(ErrorCode.UNSUPPORTED_MEDIA, ErrorCode.IDLE_TIMEOUT),
    ),
    more=f"{SHAPES}. All edits of a change are made, or none. CONFLICT before the job has ended.",
    headers=(Header("If-Match", "the ETag that the change stands on", required=True),),
    body={JSON: Shape(CorrectionForm, sent=True)},
)
HISTORY = Operation(
    "correctionHistory",
    TAG,
    "Who corrected what, and when",
    {200: Answer("changes, newest first", json_of(HistoryWire))},
    _FOUND,
    query=(
        Query("before", "changes before this version", WHOLE_NUMBER),
        Query(
            "limit",
            "changes in a page",
            {"type": "integer", "minimum": 1, "maximum": MAX_CHANGES, "default": DEFAULT_CHANGES},
        ),
    ),
)
