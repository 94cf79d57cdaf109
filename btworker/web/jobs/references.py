"""Voices of known speakers that come with a job: recordings as files, as data URLs or as resumable uploads, or names of
stored voices.

Nothing is decoded here but base64: the bytes go to the job's folder, where the child judges them. Parent.
"""

import base64
import binascii
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from btworker.config import Settings
from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import ENROLL, Input, JobId, KnownSpeaker, Options
from btworker.receiving.received_file import ReceivedFile
from btworker.service.resumable_files import UPLOAD_ID
from btworker.service.voices import Voices
from btworker.storage import DataFolder
from btworker.web.fields import bare
from btworker.web.mistakes import bad_option
from btworker.web.option_fields import SPEAKER_REFERENCES, Fields, value_beside

NAMES, REFERENCES = "known_speaker_names", "known_speaker_references"
_bad = partial(bad_option, REFERENCES)
_FIELDS = frozenset({REFERENCES, SPEAKER_REFERENCES})
_HEAD = re.compile(rb"data:(audio|video)/[A-Za-z0-9.+-]+(;[A-Za-z0-9-]+=[^;,\s]+)*;base64,", re.IGNORECASE)
MAX_HEAD_BYTES = 256
EMPTY = "one is empty"
Lend = Callable[[str, Path], Awaitable[str]]
"""Gives the upload of an id a second name, as a reference; its SHA-256 in hex."""
NO_LIST = "must be a list of texts: data URLs of sound or, by JSON and with resumable uploads, ids of finished uploads"
NO_DATA_URL = "each must be a data URL of sound: data:audio/wav;base64,…"
_SPACE = bytes.maketrans(b"", b""), b" \r\n\t"


def is_reference(name: str) -> bool:
    """Whether a part of this name is the voice of a known speaker; with brackets or without."""
    return bare(name) in _FIELDS


def texts_of(fields: Fields) -> list[str]:
    """Those that stand in the options themselves. Raises BAD_OPTION."""
    value = value_beside(fields, SPEAKER_REFERENCES)
    texts = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(text, str) for text in texts):
        raise _bad(NO_LIST)
    return texts


class DataUrl:
    """Bytes of `data:audio/wav;base64,…` in, bytes of the recording out."""

    def __init__(self) -> None:
        self._rest = b""
        self._has_head = False

    def feed(self, data: bytes) -> bytes:
        """Decode some more. Raises BAD_OPTION."""
        self._rest += data
        if not self._has_head:
            found = _HEAD.match(self._rest)
            if found is None:
                if b"," in self._rest[:MAX_HEAD_BYTES] or len(self._rest) >= MAX_HEAD_BYTES:
                    raise _bad(NO_DATA_URL)
                return b""
            self._rest, self._has_head = self._rest[found.end() :], True
        text = self._rest.translate(*_SPACE)
        whole = len(text) - len(text) % 4
        self._rest = text[whole:]
        return _decoded(text[:whole])

    def finish(self) -> bytes:
        """What is left. Raises BAD_OPTION."""
        if not self._has_head:
            raise _bad(NO_DATA_URL)
        return _decoded(self._rest + b"=" * (-len(self._rest) % 4))


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise _bad("one has a data URL whose base64 cannot be decoded") from None


class ReceivedReference:
    """One of them on its way to the disk."""

    def __init__(self, file: ReceivedFile, settings: Settings, url: DataUrl | None) -> None:
        self._file = file
        self._settings = settings
        self._url = url

    async def add(self, data: bytes) -> None:
        """Take more bytes. Raises BAD_OPTION, FILE_TOO_LARGE."""
        await self._take(data if self._url is None else self._url.feed(data))

    async def finish(self) -> str:
        """All of it is on the disk when this returns; its SHA-256 in hex. Raises BAD_OPTION, FILE_TOO_LARGE."""
        if self._url is not None:
            await self._take(self._url.finish())
        if not self._file.size_bytes:
            raise _bad(EMPTY)
        return await self._file.finish()

    async def abandon(self) -> None:
        """See ReceivedFile."""
        await self._file.abandon()

    async def _take(self, data: bytes) -> None:
        if self._file.size_bytes + len(data) > self._settings.reference_max_bytes:
            raise reference_too_large(self._settings)
        if data:
            await self._file.add(data)


class References:
    """Those of one upload, in the order in which they came."""

    def __init__(self, data: DataFolder, settings: Settings, job_id: JobId) -> None:
        self._data = data
        self._settings = settings
        self._folder = data.folder(job_id)
        self._begun = 0
        self.hashes: list[str] = []
        """SHA-256 of each that is there."""

    def begin(self, *, is_file: bool) -> ReceivedReference:
        """Receive one more, into the job's folder. Raises BAD_OPTION where there are too many."""
        file = ReceivedFile(self._data, self._settings, self._next())
        return ReceivedReference(file, self._settings, None if is_file else DataUrl())

    def _next(self) -> Path:
        if self._begun >= self._settings.known_speakers:
            raise _bad(f"at most {self._settings.known_speakers} are taken here (WORKER_KNOWN_SPEAKERS)")
        self._begun += 1
        return self._folder.reference(self._begun - 1)

    async def take(self, texts: Sequence[str], lend: Lend | None = None) -> None:
        """Those that stand in the options: data URLs and, with `lend`, ids of uploads. Raises BAD_OPTION,
        FILE_TOO_LARGE."""
        if texts and self.hashes:
            raise _bad("some came as fields and some in options; send all of them in one of the two")
        for text in texts:
            if lend is not None and UPLOAD_ID.fullmatch(text):
                self.hashes.append(await lend(text, self._next()))
            else:
                await self._take_url(text)

    async def _take_url(self, text: str) -> None:
        received = self.begin(is_file=False)
        try:
            await received.add(text.encode("ascii", "replace"))
            self.hashes.append(await received.finish())
        finally:
            await received.abandon()

    async def known(self, options: Options, voices: Voices, inputs: Sequence[Input], *, owner: str) -> Options:
        """The options, with what came for each name. Raises BAD_OPTION where names and voices do not fit together."""
        if options.task == ENROLL:
            _check_voice(options, inputs, self._settings)
            return options
        names = [one.name for one in options.known_speakers]
        check_names(names, len(self.hashes), voices, owner)
        hashes = self.hashes or await self._data.run(voices.lend, names, self._folder, owner)
        return replace(options, known_speakers=tuple(map(KnownSpeaker, names, hashes)))


def _check_voice(options: Options, inputs: Sequence[Input], settings: Settings) -> None:
    if not options.known_speakers[0].name or len(inputs) != 1:
        message = "a voice is made of one name (the field name) and one file"
        raise BtworkerError(ErrorCode.BAD_OPTION, message, param="name")
    if inputs[0].size_bytes > settings.reference_max_bytes:
        raise reference_too_large(settings)


def check_names(names: Sequence[str], references: int, voices: Voices, owner: str) -> None:
    """Whether there is a reference for each name, or else a stored voice of the owner's. Raises BAD_OPTION."""
    if references and references != len(names):
        raise _bad(f"{len(names)} names ({NAMES}) came with {references}: one for each, in the same order")
    missing = next((name for name in names if voices.named(name, owner) is None), None)
    if missing is not None and not references:
        message = f"there is no stored voice {missing!r}, and no reference came; send {REFERENCES}, one for each name"
        raise bad_option(NAMES, f"{message}, or store the voice with POST /v1/voices")


def check_texts(texts: Sequence[str]) -> None:
    """Judge data URLs before there is a place for them. Raises BAD_OPTION."""
    for text in texts:
        url = DataUrl()
        if not url.feed(text.encode("ascii", "replace")) + url.finish():
            raise _bad(EMPTY)


def reference_too_large(settings: Settings) -> BtworkerError:
    """The refusal of one above the limit."""
    message = f"the reference of a known speaker has at most {settings.reference_max_mb} MB here"
    return BtworkerError(ErrorCode.FILE_TOO_LARGE, f"{message} (WORKER_REFERENCE_MAX_MB)", param=REFERENCES)
