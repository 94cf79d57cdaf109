"""What players get of a job's inputs, in words. Handlers: web/jobs/renditions.py."""

from btworker.errors import ErrorCode
from btworker.tickets import PARAMETER
from btworker.web.contract.files import CONDITIONS, DISPOSITION, file_answers
from btworker.web.contract.operation import BINARY, STORE, TEXT, Answer, Operation, Query, Schema, json_of
from btworker.web.jobs.renditions import TicketWire

TAG = "jobs"
_INDEX: dict[str, Schema] = {"index": {"type": "string", "pattern": "^(0|[1-9][0-9]{0,4})$"}}
_TICKET = (Query(PARAMETER, "in place of a token: see createTicket", TEXT),)
_FOUND = (ErrorCode.NOT_FOUND, *STORE)
_MORE = "NOT_FOUND where the setting is off, where it failed (a warning of the job says why), and until it is made."

AUDIO = Operation(
    "inputAudio",
    TAG,
    "The sound of an input, for players",
    file_answers("AAC in an M4A, mono, on the clock of the transcript", {"audio/mp4": BINARY}, DISPOSITION),
    (*_FOUND, ErrorCode.RANGE_NOT_SATISFIABLE),
    more=_MORE,
    headers=CONDITIONS,
    path=_INDEX,
    query=_TICKET,
)
PEAKS = Operation(
    "inputPeaks",
    TAG,
    "The waveform of an input",
    file_answers(
        "least and greatest samples at three zooms: docs/api.md", {"application/octet-stream": BINARY}, DISPOSITION
    ),
    (*_FOUND, ErrorCode.RANGE_NOT_SATISFIABLE),
    more=_MORE,
    headers=CONDITIONS,
    path=_INDEX,
    query=_TICKET,
)
TICKETS = Operation(
    "createTicket",
    TAG,
    "Addresses of both that need no token, for a while",
    {201: Answer("the addresses, with a ticket each", json_of(TicketWire))},
    _FOUND,
    more="For players, which can send no header.",
    path=_INDEX,
)
