"""Resumable uploads (tus 1.0.0) in words. Handlers: web/tus/handlers.py, web/tus/finished.py."""

from btworker.errors import ErrorCode
from btworker.web.contract.operation import (
    BINARY,
    STORE,
    WHOLE_NUMBER,
    Answer,
    Content,
    Header,
    Operation,
    Schema,
    refused,
)
from btworker.web.tus.handlers import CHECKSUMS, EXTENSIONS, MAX_METADATA_CHARS, OFFSET_STREAM, OVERRIDES, VERSION

TAG = "resumable uploads"
_VERSION: Schema = {"type": "string", "enum": [VERSION]}
_SPOKEN = Header("Tus-Resumable", "the version that is spoken", _VERSION, required=True)
_OFFSET = Header("Upload-Offset", "bytes that are durable", WHOLE_NUMBER, required=True)
_EXPIRES = Header("Upload-Expires", "when an unfinished upload is forgotten", required=True)
_JOB = Header("Btworker-Job", "the job that the upload became", {"type": "string", "pattern": "^wk_[0-9a-f]+$"})
_STATE = (_OFFSET, _EXPIRES, _JOB)
_LENGTH = Header("Upload-Length", "bytes of the whole", {**WHOLE_NUMBER, "maximum": 10**16 - 1})
_DEFERRED = Header("Upload-Defer-Length", "1 where the length is not known yet", {"enum": ["1"]})
_METADATA = Header(
    "Upload-Metadata",
    "keys and base64 values, with `filename`; with `submit`, options as JSON, the upload becomes a job by itself",
    {"type": "string", "maxLength": MAX_METADATA_CHARS},
)
_CHECKSUM = Header(
    "Upload-Checksum",
    "of these bytes: an algorithm and base64",
    {"type": "string", "pattern": f"^({'|'.join(CHECKSUMS)}) [A-Za-z0-9+/]*=*$"},
)
_BYTES: Content = {OFFSET_STREAM: BINARY}
_FOUND = (ErrorCode.NOT_FOUND, ErrorCode.GONE, ErrorCode.UNKNOWN_VERSION, *STORE)
_SUBMITTED = (
    ErrorCode.BAD_OPTION,
    ErrorCode.URL_REFUSED,
    ErrorCode.EMPTY_FILE,
    ErrorCode.QUEUE_FULL,
    ErrorCode.QUOTA_EXCEEDED,
    ErrorCode.DRAINING,
)
"""What a finished upload that becomes a job by itself may be refused with."""
_WRITTEN = (
    *(*_FOUND, *_SUBMITTED, ErrorCode.CONFLICT, ErrorCode.LOCKED, ErrorCode.FILE_TOO_LARGE),
    *(ErrorCode.CHECKSUM_MISMATCH, ErrorCode.IDLE_TIMEOUT, ErrorCode.BAD_MULTIPART),
)

_CAN = {
    204: Answer(
        "in its headers",
        headers=(
            Header("Tus-Version", "versions", _VERSION, required=True),
            Header("Tus-Extension", "extensions", {"enum": [EXTENSIONS]}, required=True),
            Header("Tus-Max-Size", "bytes of the largest file", WHOLE_NUMBER, required=True),
            Header("Tus-Checksum-Algorithm", "algorithms", required=True),
        ),
    )
}
OPTIONS = Operation("uploadOptions", TAG, "What this server can do", _CAN, always=(_SPOKEN,))
OPTIONS_OF_ONE = Operation("uploadOptionsOfOne", TAG, "What this server can do", _CAN, always=(_SPOKEN,))
CREATE = Operation(
    "createUpload",
    TAG,
    "Begin an upload",
    {
        201: Answer(
            "where it is, and how far",
            headers=(
                *_STATE,
                Header(
                    "Location",
                    "the upload",
                    {"type": "string", "pattern": "^/v1/uploads/up_[0-9a-f]{32}$"},
                    required=True,
                ),
            ),
        )
    },
    _WRITTEN,
    more="Either Upload-Length or Upload-Defer-Length; with a body the first bytes come along.",
    headers=(_SPOKEN, _LENGTH, _DEFERRED, _METADATA, _CHECKSUM),
    always=(_SPOKEN,),
    body=_BYTES,
    body_required=False,
)
LOOK = Operation(
    "lookAtUpload",
    TAG,
    "How far an upload is",
    {200: Answer("in its headers", headers=(*_STATE, _LENGTH, _DEFERRED, _METADATA))},
    (*_FOUND, *_SUBMITTED, ErrorCode.CONFLICT),
    headers=(_SPOKEN,),
    always=(_SPOKEN,),
)
APPEND = Operation(
    "appendToUpload",
    TAG,
    "More bytes",
    {204: Answer("how far it is now", headers=_STATE)},
    (*_WRITTEN, ErrorCode.UNSUPPORTED_MEDIA),
    headers=(_SPOKEN, Header("Upload-Offset", "where they belong", _LENGTH.schema, required=True), _LENGTH, _CHECKSUM),
    always=(_SPOKEN,),
    body=_BYTES,
)
TERMINATE = Operation(
    "deleteUpload",
    TAG,
    "Forget an upload",
    {204: Answer("it is gone")},
    (*_FOUND, ErrorCode.LOCKED),
    headers=(_SPOKEN,),
    always=(_SPOKEN,),
)
OVERRIDE = Operation(
    "overrideUpload",
    TAG,
    "For clients that know no PATCH, DELETE or HEAD",
    {
        200: Answer("as of HEAD", headers=_STATE),
        204: Answer("as of PATCH or DELETE"),
        405: refused("there is no such method: METHOD_NOT_ALLOWED", Header("Allow", "methods", required=True)),
    },
    (*_WRITTEN, ErrorCode.UNSUPPORTED_MEDIA),
    headers=(
        _SPOKEN,
        Header("X-HTTP-Method-Override", "what is meant", {"enum": list(OVERRIDES)}, required=True),
        Header("Upload-Offset", "where the bytes belong", _LENGTH.schema),
        _LENGTH,
        _CHECKSUM,
    ),
    always=(_SPOKEN,),
    body=_BYTES,
    body_required=False,
)
