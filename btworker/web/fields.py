"""A form field while it arrives, and what is said of a file that came as one. Parent."""

import json
import re
from dataclasses import dataclass, field

from btworker.errors import BtworkerError, ErrorCode
from btworker.web.parts import PartHead

MAX_FIELD_BYTES = 2**16
MAX_JSON_BYTES = 2**18
MEDIA = ("audio/", "video/", "application/octet-stream")
FILES = frozenset({"file", "files", "audio", "upload"})
"""What clients call a part that is a file, whether or not they give it a filename."""
_BRACKETS = re.compile(r"\[\d{0,6}\]$")


@dataclass(slots=True)
class Field:
    """One option's text, or one JSON object's."""

    name: str
    is_option: bool
    """There is an option of this name: what is wrong with the field is wrong with its text."""
    is_json: bool = False
    value: bytearray = field(default_factory=bytearray)

    def add(self, data: bytes) -> None:
        """Take more of it. Raises BAD_OPTION, NO_FILE."""
        self.value += data
        limit = MAX_JSON_BYTES if self.is_json else MAX_FIELD_BYTES
        if len(self.value) > limit:
            raise self._refusal(f"the field is larger than {limit // 1024} KiB")

    def text(self) -> str:
        """The whole of it. Raises BAD_OPTION, NO_FILE."""
        try:
            return self.value.decode("utf-8")
        except UnicodeDecodeError:
            raise self._refusal("the field is not UTF-8") from None

    def _refusal(self, what: str) -> BtworkerError:
        if self.is_option:
            return BtworkerError(ErrorCode.BAD_OPTION, what, param=self.name[:64])
        return no_filename(self.name)


def bare(name: str) -> str:
    """The name of a list's field without what forms put behind it: names[] or, where each name may be there once,
    names[0]."""
    return _BRACKETS.sub("", name)


def is_file_without_name(head: PartHead) -> bool:
    """A part that is a file by its name or its type, but has no filename that would tell it from an option."""
    kind = head.headers.get("Content-Type", "").lower()
    return bare(head.name).lower() in FILES or kind.startswith(MEDIA)


def no_filename(name: str) -> BtworkerError:
    """The one sentence for such a part, whatever its size and content."""
    shown = "".join(c if c.isprintable() else "?" for c in name[:64])
    message = f"the part {shown!r} has no filename, which a file needs: Content-Disposition: form-data; "
    return BtworkerError(ErrorCode.NO_FILE, f'{message}name="file"; filename="talk.wav"', param=shown)


def listed(text: str) -> list[str] | None:
    """The items of a list in JSON, as one field of a form may have it; None for any other text."""
    try:
        value = json.loads(text) if text.lstrip().startswith("[") else None
    except (ValueError, RecursionError):
        return None
    is_list = isinstance(value, list) and all(isinstance(item, str) for item in value)
    return value if is_list else None
