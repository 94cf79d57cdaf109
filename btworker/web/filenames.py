"""What a client called its file: a name to show, never a path. Pure."""

import re
import unicodedata
from urllib.parse import unquote_to_bytes, urlsplit

from btworker.locations import S3Object, Source
from btworker.web.parts import PartHead, decoded

MAX_CHARS = 255
NAMELESS = "audio"
"""What a file is called that has no name."""
_EXTENDED = re.compile(r";\s*filename\*\s*=\s*([A-Za-z0-9-]+)'[^']*'([^\s;\"]+)", re.IGNORECASE)


def sent_filename(head: PartHead) -> str | None:
    """The name to show for a file part; None for a part that is no file.

    RFC 7578 knows `filename` only; some clients send `filename*` (RFC 8187) for what is not ASCII, so it comes first.
    """
    extended = _EXTENDED.search(head.headers.get("Content-Disposition", ""))
    raw = _decode(*extended.groups()) if extended else head.filename
    return None if raw is None else clean_filename(raw)


def _decode(charset: str, text: str) -> str:
    """Latin-1 is the only charset beside UTF-8 that RFC 8187 and its predecessor name: Python's other codecs unescape,
    run long, or raise as they like."""
    raw = unquote_to_bytes(text)
    return raw.decode("latin-1") if charset.lower() == "iso-8859-1" else decoded(raw)


def name_in_source(source: Source) -> str:
    """What an input is called that lies elsewhere."""
    return clean_filename(source.name) if isinstance(source, S3Object) else name_in_url(source)


def name_in_url(url: str) -> str:
    """The last component of a URL's path, as a name."""
    return clean_filename(decoded(unquote_to_bytes(urlsplit(url).path)))


def clean_filename(raw: str) -> str:
    """The last component of a path in Unicode's composed form (NFC), without what cannot be shown, at most 255
    characters; NAMELESS for an empty rest."""
    last = unicodedata.normalize("NFC", raw).replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    spaced = "".join(" " if unicodedata.category(c) == "Zs" else c for c in last)
    shown = "".join(c for c in spaced if c.isprintable()).strip()
    return shown[:MAX_CHARS].strip() or NAMELESS
