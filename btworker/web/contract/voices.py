"""Stored voices in words. Handlers: web/voices.py."""

from btworker.errors import ErrorCode
from btworker.web.contract.jobs import ADMISSION
from btworker.web.contract.operation import BINARY, FORM, TEXT, Answer, Form, Operation, json_of, refused
from btworker.web.voices import VoiceListWire, VoiceWire

TAG = "voices"
CREATE = Operation(
    "createVoice",
    TAG,
    "Store the voice of somebody whom jobs may know",
    {
        201: Answer("it is stored", json_of(VoiceWire)),
        400: refused("the request is refused, or no voice can be made of the recording"),
        500: refused("the job that makes the voice failed, with the code of its failure; INTERNAL"),
        503: refused("speakers cannot be told apart here: MODEL_UNAVAILABLE; DRAINING"),
    },
    (*ADMISSION, ErrorCode.NOT_FOUND, ErrorCode.CONFLICT),
    more="The answer waits for a job that embeds the voice. The sound is deleted then.",
    body={FORM: Form({"name": TEXT, "file": BINARY}, ("name", "file"))},
)
LIST = Operation("listVoices", TAG, "Stored voices", {200: Answer("all of them", json_of(VoiceListWire))})
DELETE = Operation(
    "deleteVoice",
    TAG,
    "Delete a stored voice",
    {204: Answer("it is gone")},
    (ErrorCode.NOT_FOUND,),
    more="Jobs that were submitted with it keep their copy.",
    path={"voice_id": {"type": "string", "minLength": 1}},
)
