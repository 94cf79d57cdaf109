"""What a client called its file: a name to show, never a path. Pure."""

import re
from urllib.parse import unquote

from btworker.web.parts import PartHead

MAX_CHARS = 255
_EXTENDED = re.compile(r";\s*filename\*\s*=\s*([A-Za-z0-9-]+)'[^']*'([^\s;\"]+)", re.IGNORECASE)


def sent_filename(head: PartHead) -> str | None:
    """The name to show for a file part; None for a part that is no file.

    RFC 7578 knows `filename` only; some clients send `filename*` (RFC 8187) for what is not ASCII, so it counts too.
    """
    extended = _EXTENDED.search(head.headers.get("Content-Disposition", ""))
    raw = _decode(*extended.groups()) if extended else head.filename
    return None if raw is None else clean_filename(raw)


def _decode(charset: str, text: str) -> str:
    """Only what RFC 8187 and its predecessor name: Python's other codecs unescape, run long, or raise as they like."""
    encoding = "iso-8859-1" if charset.lower() == "iso-8859-1" else "utf-8"
    return unquote(text, encoding=encoding, errors="replace")


def clean_filename(raw: str) -> str:
    """The last component of a path, without what cannot be shown, at most 255 characters; "audio" for an empty rest."""
    last = raw.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    shown = "".join(c for c in last if c.isprintable()).strip()
    return shown[:MAX_CHARS].strip() or "audio"
