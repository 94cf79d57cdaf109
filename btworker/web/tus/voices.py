"""Voices of known speakers that stand in the options of a job: data URLs, and resumable uploads. Parent."""

from collections.abc import Sequence
from pathlib import Path

from btworker.durable import sync_folder
from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import Input, JobId, Options
from btworker.keys import Caller
from btworker.service.resumable_files import UPLOAD_ID, Resumable
from btworker.web.context import Context
from btworker.web.jobs.references import REFERENCES, References, check_names, check_texts, reference_too_large, texts_of
from btworker.web.option_fields import SPEAKER_REFERENCES, Fields

OF_VOICES = f"{SPEAKER_REFERENCES} may have ids of finished uploads beside data URLs"
"""For the description of options."""


class SpeakerVoices:
    """Those of one job, whose uploads (`named_uploads`) are held."""

    def __init__(self, context: Context, fields: Fields, caller: Caller) -> None:
        """Raises BAD_OPTION, and what complete_upload does, for an upload that can be no voice."""
        self._context = context
        self._texts = texts_of(fields)
        self.uploads = [_voice(context, upload_id, caller) for upload_id in named_uploads(fields)]

    def check(self, options: Options, owner: str) -> None:
        """Judge them before there is a place for them. Raises BAD_OPTION."""
        check_texts([text for text in self._texts if not UPLOAD_ID.fullmatch(text)])
        names = [one.name for one in options.known_speakers]
        check_names(names, len(self._texts), self._context.voices, owner)

    async def known(self, options: Options, job_id: JobId, inputs: Sequence[Input], *, owner: str) -> Options:
        """The options, with the voices in the job's folder. Raises BAD_OPTION, FILE_TOO_LARGE."""
        references = References(self._context.data, self._context.settings, job_id)
        await references.take(self._texts, self._lend)
        return await references.known(options, self._context.voices, inputs, owner=owner)

    async def _lend(self, upload_id: str, target: Path) -> str:
        """Give an upload a second name, durably; its SHA-256 in hex."""
        uploads = self._context.resumable
        record = uploads.get(upload_id)
        await uploads.lend(record, target)
        await self._context.data.run(sync_folder, target.parent)
        return await uploads.sha256(record)


def named_uploads(fields: Fields) -> list[str]:
    """Ids of the uploads that the options name as voices. Raises BAD_OPTION."""
    return [text for text in texts_of(fields) if UPLOAD_ID.fullmatch(text)]


def complete_upload(context: Context, upload_id: str, caller: Caller) -> Resumable:
    """An upload of this caller's, all of which is there and in no job. Raises NOT_FOUND, GONE, CONFLICT, EMPTY_FILE."""
    uploads = context.resumable
    owner = uploads.owner_of(upload_id)
    if not UPLOAD_ID.fullmatch(upload_id) or owner is None or not caller.may_change(owner):
        raise BtworkerError(ErrorCode.NOT_FOUND, "there is no such upload")
    record = uploads.get(upload_id)
    if record.job_id is not None:
        raise BtworkerError(ErrorCode.CONFLICT, f"the upload is an input of job {record.job_id} already")
    if not uploads.is_complete(record):
        message = f"the upload has {uploads.offset(record)} bytes so far, of {record.length or 'an unknown number'}"
        raise BtworkerError(ErrorCode.CONFLICT, message)
    if not record.length:
        raise BtworkerError(ErrorCode.EMPTY_FILE, "the upload is empty")
    return record


def _voice(context: Context, upload_id: str, caller: Caller) -> Resumable:
    """The same, of one that is the voice of a known speaker. Raises FILE_TOO_LARGE, too."""
    try:
        record = complete_upload(context, upload_id, caller)
    except BtworkerError as error:
        raise BtworkerError(error.code, f"{REFERENCES}: {error.message}", param=REFERENCES) from None
    if (record.length or 0) > context.settings.reference_max_bytes:
        raise reference_too_large(context.settings)
    return record
