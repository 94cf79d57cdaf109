"""What every stored file is sent with: ranges, conditions, an ETag. In words; files.py is what does it."""

from btworker.web.contract.operation import Answer, Content, Header, refused

CONDITIONS = (
    Header(
        "Range", "several ranges at once are ignored", {"type": "string", "pattern": "^bytes=[0-9]{0,18}-[0-9]{0,18}$"}
    ),
    Header("If-Range", "the range counts only for this ETag"),
    Header("If-None-Match", "304 for this ETag"),
    Header("If-Match", "412 for any other ETag"),
)
ETAG = Header("ETag", "the file's SHA-256 in quotes", {"type": "string", "pattern": '^"[0-9a-f]{64}"$'}, required=True)
_RANGES = Header("Accept-Ranges", "always bytes", {"const": "bytes"}, required=True)
DISPOSITION = Header("Content-Disposition", "attachment, with the file's name")
_PART = Header("Content-Range", "`bytes first-last/size`", required=True)
_SIZE = Header("Content-Range", "`bytes */size`")


STATIC_CONDITIONS = (Header("If-None-Match", "304 for this ETag"),)
_STATIC = Header(
    "ETag", "of the text as it is sent", {"type": "string", "pattern": '^"[0-9a-f]{64}(-gzip)?"$'}, required=True
)


def static_answers(text: str, content: Content) -> dict[int, Answer]:
    """The answers of a route that sends a text that never changes (web/system/static.py)."""
    return {200: Answer(text, content, (_STATIC,)), 304: Answer("the client has it already", headers=(_STATIC,))}


def file_answers(text: str, content: Content, *headers: Header) -> dict[int, Answer]:
    """The answers of a route that sends a file."""
    usual = (ETAG, _RANGES, *headers)
    return {
        200: Answer(text, content, usual),
        206: Answer("a part of it", dict.fromkeys(content), (*usual, _PART)),
        304: Answer("the client has it already", headers=usual),
        412: refused("the file has another ETag: CONFLICT"),
        416: refused("the file has no such bytes: RANGE_NOT_SATISFIABLE", _SIZE),
    }
