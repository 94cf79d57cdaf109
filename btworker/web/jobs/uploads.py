"""An upload: files stream to the disk, options are gathered, the row is committed. Parent; submissions.py answers.

web/parts.py takes the body apart; receiving/ writes; service.submit accepts. However an upload ends before that,
nothing of it stays on the disk.
"""

import asyncio
from collections.abc import Iterable

from aiohttp import web

from btworker.durable import sync_folder
from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import Input, Job, Options, new_job_id
from btworker.locations import Source
from btworker.logs import get_logger
from btworker.receiving.received_file import SMALL_BYTES, ReceivedFile, too_large
from btworker.service import NewJob
from btworker.service.unbroken import unbroken
from btworker.stems import unique_stems
from btworker.web.body import Body
from btworker.web.context import Context, caller_of
from btworker.web.fields import MAX_FIELD_BYTES, Field, is_file_without_name, no_filename
from btworker.web.filenames import NAMELESS, name_in_source, sent_filename
from btworker.web.jobs import admission
from btworker.web.jobs.form import Form
from btworker.web.jobs.references import ReceivedReference, References, is_reference, texts_of
from btworker.web.middlewares import request_id_of
from btworker.web.option_fields import JSON_FIELD, SOURCE, Fields, url_option
from btworker.web.parts import PartEvent, PartHead, PartParser, boundary_of, check_part_encoding
from btworker.web.stores import check_readable, delivery_of, named_object

log = get_logger()
MAX_FIELDS = 64
"""Besides keywords, each of which may be a field."""
MAX_TEXT_BYTES = MAX_FIELDS * MAX_FIELD_BYTES
"""Of all fields together."""


class Upload:
    """One upload from its first byte to its job, or to nothing."""

    def __init__(self, request: web.Request, context: Context, form: Form) -> None:
        self._request = request
        self._form = form
        self._context = context
        self._data = context.data
        self._owner = caller_of(request).owner
        self._job_id = new_job_id()
        self._fields: list[tuple[str, str]] = list(request.query.items())
        self._max_fields = MAX_FIELDS + context.settings.max_keywords
        self._text_bytes = 0
        self._files: list[Input] = []
        self._small: list[ReceivedFile] = []
        """Those that are written once all are there."""
        self._filename = ""
        self._was_chosen = True
        """A browser sends a file input in which nothing was chosen as a file without name and content."""
        self._part: ReceivedFile | ReceivedReference | Field | None = None
        self._references = References(context.data, context.settings, self._job_id)
        self._read: tuple[int, Options] | None = None
        """Of how many fields, and what they say."""
        self._is_judged = False
        """Whether what came before the first file was found good: from then on something may be on the disk."""
        self._has_folder, self._sync = False, 0
        self._is_over = False
        """Whether all that is on the disk is a job's."""
        self._settling: asyncio.Future[admission.FreeBytes] | None = None
        self._submitting: asyncio.Task[tuple[Job, bool]] | None = None
        self._owed_bytes = request.content_length or 0
        context.budget.promised_bytes += self._owed_bytes

    async def read(self) -> None:
        """Take the whole body in. Raises BtworkerError, OSError."""
        settings = self._context.settings
        most = settings.max_files_per_job + settings.known_speakers + self._max_fields
        parser = PartParser(boundary_of(self._request.headers["Content-Type"]), max_parts=most)
        body = Body(self._request, settings, self._context.receivers, on_bytes=self._count)
        try:
            while chunk := await body.read():
                while chunk:
                    await self._take(parser.feed(chunk))
                    chunk = await self._pour(body, parser)
            parser.close()
        finally:
            body.close()

    async def _take(self, events: Iterable[PartEvent]) -> None:
        for event in events:
            if isinstance(event, bytes):
                await self._add(event)
            elif event is None:
                await self._end_part()
            else:
                await self._begin_part(event)

    async def _pour(self, body: Body, parser: PartParser) -> bytes:
        """The rest of a large file, past the parser; what came behind it. Empty where nothing is taken like this, as
        before a file's first byte: one in which nothing was chosen has none, and nothing may be opened for it."""
        part = self._part
        if not isinstance(part, ReceivedFile) or parser.holds_back or not part.size_bytes:
            return b""
        before = part.size_bytes
        behind = await body.pour(part, delimiter=parser.delimiter)
        parser.pass_over(part.size_bytes - before)
        return behind or b""

    def _count(self, count: int) -> None:
        self._context.metrics.upload_bytes(count)
        paid = min(count, self._owed_bytes)
        self._owed_bytes -= paid
        self._context.budget.promised_bytes -= paid

    async def _begin_part(self, head: PartHead) -> None:
        check_part_encoding(head)
        filename = sent_filename(head)
        if is_reference(head.name):
            await self._make_folder()
            self._part = self._references.begin(is_file=filename is not None)
            return
        if filename is None or head.name == JSON_FIELD:
            self._part = self._begin_field(head)
            return
        self._was_chosen = head.filename != "" or filename != NAMELESS
        self._begin_file(head, filename)

    def _begin_field(self, head: PartHead) -> Field:
        is_option = self._form.is_option(head.name)
        if not is_option and is_file_without_name(head):
            raise no_filename(head.name)
        if len(self._fields) >= self._max_fields:
            raise BtworkerError(ErrorCode.BAD_MULTIPART, f"an upload has at most {self._max_fields} fields here")
        return Field(head.name, is_option, is_json=head.name == JSON_FIELD)

    def _begin_file(self, head: PartHead, filename: str) -> None:
        settings = self._context.settings
        if self._files and self._form.one_file:
            message = "send one file: the answer is its transcript; POST /v1/jobs takes several"
            raise BtworkerError(ErrorCode.BAD_MULTIPART, message, param="file")
        if len(self._files) >= settings.max_files_per_job:
            message = f"an upload has at most {settings.max_files_per_job} files here (WORKER_MAX_FILES_PER_JOB)"
            raise BtworkerError(ErrorCode.BAD_MULTIPART, message)
        if int(head.headers.get("Content-Length", "0")) > settings.max_file_bytes:
            raise too_large(self._context.settings)
        self._judge()
        self._filename = filename
        final = self._data.folder(self._job_id).input(len(self._files))
        self._part = ReceivedFile(self._data, settings, final, before=self._create)

    def _judge(self) -> None:
        if not self._is_judged:
            self._options(self._form.understand(self._fields))
            self._is_judged = True

    def _options(self, fields: Fields) -> Options:
        """Read anew only where fields came behind the first file. Raises BAD_OPTION."""
        if self._read is None or self._read[0] != len(self._fields):
            self._read = len(self._fields), self._form.options(fields, self._context.settings)
        return self._read[1]

    async def _make_folder(self) -> None:
        self._judge()
        await self._data.run(self._create)

    def _create(self) -> None:
        """Blocking; with a small file's own write, so that all of it is one hop."""
        if not self._has_folder:
            self._data.create(self._job_id)
            self._has_folder, self._sync = True, self._data.jobs_sync.next()

    async def _add(self, data: bytes) -> None:
        if isinstance(self._part, Field):
            self._text_bytes += len(data)
            if self._text_bytes > MAX_TEXT_BYTES:
                most = f"{MAX_TEXT_BYTES // 2**20} MiB"
                raise BtworkerError(ErrorCode.BAD_MULTIPART, f"the fields of an upload are larger than {most} together")
            self._part.add(data)
        elif self._part is not None:
            most_bytes = self._context.settings.max_file_bytes
            if isinstance(self._part, ReceivedFile) and self._part.size_bytes + len(data) > most_bytes:
                raise too_large(self._context.settings)
            await self._part.add(data)

    async def _end_part(self) -> None:
        part = self._part
        if isinstance(part, Field):
            self._fields.append((part.name, part.text()))
        elif isinstance(part, ReceivedReference):
            self._references.hashes.append(await part.finish())
        elif part is not None and (part.size_bytes or self._was_chosen):
            if part.size_bytes == 0:
                raise BtworkerError(ErrorCode.EMPTY_FILE, f"the file {self._filename!r} is empty")
            sha256 = await self._finish(part)
            number = str(len(self._files))
            self._files.append(Input(number, self._filename, "", part.size_bytes, sha256))
        self._part = None

    async def _finish(self, part: ReceivedFile) -> str:
        """The SHA-256 of a file that has ended; small ones are written with the folders, in one hop for all of them."""
        fits = part.size_bytes + sum(one.size_bytes for one in self._small) <= SMALL_BYTES
        sha256 = part.end_small() if fits else None
        if sha256 is None:
            return await part.finish()
        self._small.append(part)
        return sha256

    async def submit(self) -> tuple[Job, bool]:
        """Make the job. Raises NO_FILE, BAD_OPTION, URL_REFUSED, and what service.submit raises."""
        fields = self._form.understand(self._fields)
        source = self._source(fields)
        if source is not None:
            self._files.append(Input("0", name_in_source(source), "", 0, ""))
        if not self._files:
            message = "the upload has no file: send at least one part with a filename, or a url in place of it"
            raise BtworkerError(ErrorCode.NO_FILE, message)
        options = self._options(fields)
        texts = texts_of(fields)
        if options.known_speakers or self._references.hashes or texts:
            await self._make_folder()
            await self._references.take(texts)
            options = await self._references.known(options, self._context.voices, self._files, owner=self._owner)
        stems = unique_stems([item.filename for item in self._files])
        inputs = tuple(
            Input(item.input_id, item.filename, stem, item.size_bytes, item.sha256)
            for item, stem in zip(self._files, stems, strict=True)
        )
        largest_bytes = max(item.size_bytes for item in inputs) * options.expected_channels
        all_bytes = sum(item.size_bytes for item in inputs)
        self._settling = self._data.run(self._settle)
        await asyncio.wait({self._settling})
        free = self._settling.result()
        admission.judge_room(self._context, free, incoming_bytes=0, largest_bytes=largest_bytes, all_bytes=all_bytes)
        new = NewJob(
            id=self._job_id,
            options=options,
            inputs=inputs,
            idempotency_key=self._form.key(self._request, options, inputs),
            request_id=request_id_of(self._request),
            sources=() if source is None else (source,),
            delivery=delivery_of(fields, self._context, self._owner),
            owner=self._owner,
        )
        submitting = self._context.service.submit(new, arrived_bytes=all_bytes)
        self._submitting = asyncio.create_task(submitting, name="upload-submit")
        await asyncio.wait({self._submitting})
        job, created = self._submitting.result()
        self._is_over = job.id == self._job_id
        return job, created

    def _source(self, fields: Fields) -> Source | None:
        """Where the job's only input is fetched; None where files came. Raises BAD_OPTION, URL_REFUSED, FORBIDDEN."""
        if (raw := url_option(fields, SOURCE)) is None:
            return None
        if (item := named_object(raw, what=SOURCE)) is not None:
            check_readable(self._context, item, self._owner, what=SOURCE)
        else:
            self._context.guard.checked(raw, what=SOURCE)
        if self._files:
            raise BtworkerError(ErrorCode.BAD_OPTION, "send a file or a url, not both", param=SOURCE)
        return item or raw

    def _settle(self) -> admission.FreeBytes:
        """Blocking: small files, and the new folders' own names, are durable before the row is; and the room left."""
        folder = self._data.folder(self._job_id)
        if self._small:
            self._create()
            for file in self._small:
                file.store()
            sync_folder(folder.inputs)
        if self._has_folder:
            sync_folder(folder.path)
            self._data.jobs_sync.sync(self._sync)
        return self._data.free_for(self._context.settings.scratch_dir)

    async def close(self) -> None:
        """Whatever happened: give back the promised room, and leave no file behind unless there is a job for it."""
        self._context.budget.promised_bytes -= self._owed_bytes
        self._owed_bytes = 0
        if self._is_judged and not self._is_over:
            await unbroken(self._clean_up(), name="upload-clean-up")

    async def _clean_up(self) -> None:
        try:
            if isinstance(self._part, ReceivedFile | ReceivedReference):
                await self._part.abandon()
            if self._settling is not None:
                await asyncio.wait({self._settling})
                self._settling.exception()  # seen: it is the request's
        finally:
            if not await self._was_accepted():
                await self._data.run(self._data.remove, self._job_id)

    async def _was_accepted(self) -> bool:
        if self._submitting is None:
            return False
        await asyncio.wait({self._submitting})
        if self._submitting.exception() is not None:
            return False
        job, _ = self._submitting.result()
        return job.id == self._job_id
