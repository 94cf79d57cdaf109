"""What a client called its file: a name to show, never a path. Pure."""

import re
import unicodedata
from urllib.parse import unquote_to_bytes, urlsplit

from btworker.locations import S3Object, Source
from btworker.web.parts import PartHead, decoded

MAX_CHARS = 255
NAMELESS = "audio"
"""What a file is called that has no name."""
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*("[^\\"]*"|"(?:\\.|[^\\"])*"|[^\s;"]*)')
_EXTENDED = re.compile(r"([A-Za-z0-9-]*)'[^']*'(.+)")


def sent_filename(head: PartHead) -> str | None:
    """The name to show for a file part; None for a part that is no file.

    RFC 7578 knows `filename` only; some clients send `filename*` (RFC 8187) for what is not ASCII, so it comes first.
    """
    extended = _extended(head.headers.get("Content-Disposition", ""))
    raw = head.filename if extended is None else extended
    return None if raw is None else clean_filename(raw)


def _extended(disposition: str) -> str | None:
    """What `filename*` says, whole or in numbered pieces, as RFC 2231 has it; None where there is none, or no such.

    Latin-1 is the only charset beside UTF-8 that RFC 8187 and its predecessor name: Python's other codecs unescape,
    run long, or raise as they like.
    """
    pieces = _pieces({name.lower(): _unquoted(value) for name, value in reversed(_PARAMETER.findall(disposition))})
    charset = ""
    if pieces and pieces[0][1]:
        if (first := _EXTENDED.fullmatch(pieces[0][0])) is None:
            return None
        charset, pieces[0] = first[1], (first[2], True)
    raw = b"".join(unquote_to_bytes(text) if is_escaped else text.encode() for text, is_escaped in pieces)
    if not raw:
        return None
    return raw.decode("latin-1") if charset.lower() == "iso-8859-1" else decoded(raw)


def _pieces(parameters: dict[str, str]) -> list[tuple[str, bool]]:
    """The texts of which a name is made, in their order, and whether each is escaped by percent signs."""
    if "filename*" in parameters:
        return [(parameters["filename*"], True)]
    found = []
    for number in range(len(parameters)):
        plain = f"filename*{number}"
        name = f"{plain}*" if f"{plain}*" in parameters else plain
        if name not in parameters:
            break
        found.append((parameters[name], name != plain))
    return found


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value


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
