"""Jobs, from their upload to their results, in words.

Handlers: web/jobs/submissions.py, web/jobs/handlers.py, web/jobs/events.py, web/jobs/transcripts.py.
"""

from btworker.errors import ErrorCode
from btworker.jobs import JobStatus
from btworker.outputs import CONTENT_TYPES, FORMATS
from btworker.service.search import MAX_QUERY_CHARS
from btworker.web.contract.files import CONDITIONS, DISPOSITION, file_answers
from btworker.web.contract.operation import (
    BINARY,
    FORM,
    JSON,
    STORE,
    TEXT,
    Answer,
    Form,
    Header,
    Link,
    Operation,
    Query,
    Schema,
    Shape,
    events,
    json_of,
)
from btworker.web.jobs.admission import MAX_KEY_CHARS
from btworker.web.jobs.controller import DispatchForm
from btworker.web.jobs.handlers import DEFAULT_LIMIT, MAX_LIMIT
from btworker.web.jobs.inputs import InputsForm
from btworker.web.jobs.json_jobs import UploadsForm
from btworker.web.jobs.references import NAMES, REFERENCES
from btworker.web.jobs.transcripts import Wanted
from btworker.web.option_fields import CALLBACK, JSON_FIELD, OUTPUTS_TO, SOURCE
from btworker.web.options import OptionsForm
from btworker.web.schemas import CancelWire, JobListWire, JobWire, OutputListWire

TAG = "jobs"
_KEY = Header(
    "Idempotency-Key",
    "the same key is the same job, also after a restart",
    {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARS, "pattern": "^[ -~]*$"},
)
LOCATION = Header(
    "Location", "where the job is", {"type": "string", "pattern": "^/v1/jobs/wk_[0-9a-f]+$"}, required=True
)
_NEXT = tuple(
    Link(name, "job_id", "$response.body#/workerJobId")
    for name in ("getJob", "cancelJob", "deleteJob", "jobEvents", "jobTranscript", "listOutputs")
)
_FOUND = (ErrorCode.NOT_FOUND, *STORE)
ADMISSION = (
    *(ErrorCode.BAD_OPTION, ErrorCode.BAD_MULTIPART, ErrorCode.NO_FILE, ErrorCode.EMPTY_FILE, ErrorCode.URL_REFUSED),
    *(ErrorCode.IDLE_TIMEOUT, ErrorCode.FILE_TOO_LARGE, ErrorCode.UNSUPPORTED_MEDIA, ErrorCode.QUEUE_FULL),
    ErrorCode.QUOTA_EXCEEDED,
    *(ErrorCode.DRAINING, *STORE),
)
"""What an upload may be refused with."""
KNOWN_SPEAKERS: Schema = {
    f"{NAMES}[]": {"type": "array", "items": TEXT, "description": "who may be known, one for each reference"},
    f"{REFERENCES}[]": {
        "type": "array",
        "items": TEXT,
        "description": "their voices as data URLs (data:audio/wav;base64,…) or files; none: the stored ones",
    },
}
_FIELDS: Schema = {
    "file": {
        "type": "array",
        "items": BINARY,
        "minItems": 1,
        "description": "parts with a file name, whatever theirs is; needed unless there is a url",
    },
    JSON_FIELD: {
        "type": "object",
        "description": "options as one JSON object, instead of fields; references as data URLs",
    },
    SOURCE: {
        "type": "string",
        "description": "where the recording is, in place of a file: a URL, or s3://store/bucket/key",
    },
    **KNOWN_SPEAKERS,
    CALLBACK: {"type": "string", "description": "a URL that receives the job's end"},
    OUTPUTS_TO: {"type": "string", "description": "s3://store/bucket/prefix, into which the outputs are put"},
}

CREATE = Operation(
    "createJob",
    TAG,
    "Submit files, or the addresses of files",
    {
        201: Answer("a new job: every byte is on disk and its row committed", json_of(JobWire), (LOCATION,), _NEXT),
        200: Answer("the job that this Idempotency-Key made before", json_of(JobWire), (LOCATION,), _NEXT),
    },
    (*ADMISSION, ErrorCode.NOT_FOUND, ErrorCode.CONFLICT, ErrorCode.GONE),
    more="As a form, any part with a file name is a file; options are fields of their own, or one JSON object in the "
    "field `options`. As JSON: a job of inputs that lie elsewhere, one of finished "
    "resumable uploads, or that of a Bulk Transcribe controller.",
    headers=(_KEY,),
    body={
        FORM: Form(_FIELDS, (), OptionsForm),
        JSON: Shape(InputsForm | DispatchForm | UploadsForm, sent=True),
    },
)
LIST = Operation(
    "listJobs",
    TAG,
    "Jobs, newest first",
    {200: Answer("one page", json_of(JobListWire))},
    STORE,
    query=(
        Query("status", "only these", {"enum": [status.value for status in JobStatus]}),
        Query(
            "limit", "jobs in a page", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT}
        ),
        Query("cursor", "`nextCursor` of an earlier page", TEXT),
        Query(
            "q",
            "jobs with all of these words, or words that begin with them: in names, texts and corrections",
            {"type": "string", "minLength": 1, "maxLength": MAX_QUERY_CHARS},
        ),
    ),
)
GET = Operation("getJob", TAG, "A job", {200: Answer("the job as of now", json_of(JobWire))}, _FOUND)
DELETE = Operation(
    "deleteJob",
    TAG,
    "Delete a job's files and its row",
    {204: Answer("they are gone")},
    (*_FOUND, ErrorCode.CONFLICT),
    more="CONFLICT before the job has ended.",
)
CANCEL = Operation(
    "cancelJob",
    TAG,
    "Stop a job",
    {200: Answer("it will stop; one that has ended stays as it is", json_of(CancelWire))},
    _FOUND,
)
EVENTS = Operation(
    "jobEvents",
    TAG,
    "A job as server-sent events, to its end",
    {200: Answer("what happens to it, and at last `done`", events("status", "progress", "segment", "done"))},
    _FOUND,
    more="What came after the event in Last-Event-ID, or in `lastEventId`, follows.",
    headers=(
        Header("Last-Event-ID", "the id of a segment", {"type": "string", "pattern": "^[0-9]{1,6}:[0-9]{1,12}$"}),
    ),
    query=(
        Query(
            "lastEventId",
            "for clients that cannot set the header",
            {"type": "string", "pattern": "^[0-9]{1,6}:[0-9]{1,12}$"},
        ),
    ),
)
TRANSCRIPT = Operation(
    "jobTranscript",
    TAG,
    "The stored transcript in any format, rendered anew",
    file_answers(
        "the transcript",
        {kind.content_type.partition(";")[0]: {} if name.value == "json" else TEXT for name, kind in FORMATS.items()},
        DISPOSITION,
    ),
    (*_FOUND, ErrorCode.CONFLICT, ErrorCode.RANGE_NOT_SATISFIABLE),
    headers=CONDITIONS,
    more="CONFLICT before the job has ended.",
    query=Wanted,
)
OUTPUTS = Operation(
    "listOutputs", TAG, "What a job produced", {200: Answer("its files", json_of(OutputListWire))}, _FOUND
)
OUTPUT = Operation(
    "getOutput",
    TAG,
    "One file that a job produced",
    file_answers(
        "the file",
        {kind.partition(";")[0]: {} if suffix == ".json" else BINARY for suffix, kind in CONTENT_TYPES.items()},
        DISPOSITION,
    ),
    (*_FOUND, ErrorCode.RANGE_NOT_SATISFIABLE),
    headers=CONDITIONS,
    path={"name": {"type": "string", "minLength": 1, "description": "the `filename` of an output"}},
)
