"""Voices of known speakers that come with an upload: recordings as files or as data URLs, or names of stored voices.

Nothing is decoded here but base64: the bytes go to the job's folder, where the child judges them. Parent.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from btworker.config import Settings
from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import ENROLL, Input, JobId, KnownSpeaker, Options
from btworker.receiving.received_file import ReceivedFile
from btworker.service.voices import Voices
from btworker.storage import DataFolder, JobFolder
from btworker.web.mistakes import bad_option

NAMES, REFERENCES = "known_speaker_names", "known_speaker_references"
_bad = partial(bad_option, REFERENCES)
_FIELDS = frozenset({REFERENCES, "knownSpeakerReferences"})
_HEAD = re.compile(rb"data:(audio|video)/[A-Za-z0-9.+-]+(;[A-Za-z0-9-]+=[^;,\s]+)*;base64,", re.IGNORECASE)
MAX_HEAD_BYTES = 256
NO_DATA_URL = "each must be a data URL of sound: data:audio/wav;base64,…"
_SPACE = bytes.maketrans(b"", b""), b" \r\n\t"


def is_reference(name: str) -> bool:
    """Whether a part of this name is the voice of a known speaker; with brackets or without."""
    return name.removesuffix("[]") in _FIELDS


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
            raise _bad("one is empty")
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
        if self._begun >= self._settings.known_speakers:
            raise _bad(f"at most {self._settings.known_speakers} are taken here (WORKER_KNOWN_SPEAKERS)")
        file = ReceivedFile(self._data, self._settings, self._folder.reference(self._begun))
        self._begun += 1
        return ReceivedReference(file, self._settings, None if is_file else DataUrl())

    async def known(self, options: Options, voices: Voices, inputs: Sequence[Input], *, owner: str) -> Options:
        """The options, with what came for each name. Raises BAD_OPTION where names and voices do not fit together."""
        if options.task == ENROLL:
            _check_voice(options, inputs, self._settings)
            return options
        names = [one.name for one in options.known_speakers]
        if self.hashes and len(self.hashes) != len(names):
            raise _bad(f"{len(names)} names ({NAMES}) came with {len(self.hashes)}: one for each, in the same order")
        hashes = self.hashes or await lent(self._data, voices, names, self._folder, owner)
        return replace(options, known_speakers=tuple(map(KnownSpeaker, names, hashes)))


def _check_voice(options: Options, inputs: Sequence[Input], settings: Settings) -> None:
    if not options.known_speakers[0].name or len(inputs) != 1:
        message = "a voice is made of one name (the field name) and one file"
        raise BtworkerError(ErrorCode.BAD_OPTION, message, param="name")
    if inputs[0].size_bytes > settings.reference_max_bytes:
        raise reference_too_large(settings)


async def lent(data: DataFolder, voices: Voices, names: Sequence[str], folder: JobFolder, owner: str) -> list[str]:
    """Copies of an owner's stored voices, by their names, in a job's folder; their hashes. Raises BAD_OPTION where one
    is not there."""
    if missing := next((name for name in names if voices.named(name, owner) is None), None):
        message = f"there is no stored voice {missing!r}, and no reference came; send {REFERENCES}, one for each name"
        raise bad_option(NAMES, f"{message}, or store the voice with POST /v1/voices")
    return await data.run(voices.lend, names, folder, owner)


def reference_too_large(settings: Settings) -> BtworkerError:
    """The refusal of one above the limit."""
    message = f"the reference of a known speaker has at most {settings.reference_max_mb} MB here"
    return BtworkerError(ErrorCode.FILE_TOO_LARGE, f"{message} (WORKER_REFERENCE_MAX_MB)", param=REFERENCES)
