"""The vocabulary of descriptions: an operation, its parameters, body and answers. Pure records and no work."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from btworker.errors import ErrorCode
from btworker.web.refusal import Refusal

Schema = Mapping[str, Any]
JSON = "application/json"
FORM = "multipart/form-data"
BINARY: Schema = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
TEXT: Schema = {"type": "string"}
WHOLE_NUMBER: Schema = {"type": "integer", "minimum": 0}


@dataclass(frozen=True, slots=True)
class Shape:
    """A type whose JSON schema pydantic makes: a model, a TypedDict or a union of them."""

    of: Any
    sent: bool = False
    """By the client; what the server answers may have another schema."""


@dataclass(frozen=True, slots=True)
class Form:
    """A multipart body: the fields of a model, where there is one, and others."""

    fields: Schema
    required: tuple[str, ...]
    of: Any = None


Content = Mapping[str, Shape | Form | Schema | None]
"""Content type -> what it holds; None where that is a piece, which has no schema."""


@dataclass(frozen=True, slots=True)
class Header:
    """A header of a request or an answer."""

    name: str
    text: str
    schema: Schema = field(default_factory=lambda: TEXT)
    required: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """A parameter behind the question mark."""

    name: str
    text: str
    schema: Schema


@dataclass(frozen=True, slots=True)
class Link:
    """What may be done next with an answer: an operation's name, and where its path parameter is found."""

    operation: str
    parameter: str
    found: str


@dataclass(frozen=True, slots=True)
class Answer:
    """One status: in words, what its body is by content type, its headers."""

    text: str
    content: Content = field(default_factory=dict)
    headers: tuple[Header, ...] = ()
    links: tuple[Link, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One route. `refusals` are its error codes beside those that every route has."""

    name: str
    tag: str
    summary: str
    answers: Mapping[int, Answer]
    refusals: tuple[ErrorCode, ...] = ()
    more: str = ""
    headers: tuple[Header, ...] = ()
    always: tuple[Header, ...] = ()
    """On every answer, refusals too."""
    path: Mapping[str, Schema] = field(default_factory=dict)
    """Parameters in the path that are no usual ids."""
    query: tuple[Query, ...] | type[Any] = ()
    """Or a model, each of whose fields is a parameter."""
    body: Content = field(default_factory=dict)
    body_required: bool = True


def json_of(model: Any) -> Content:
    """The content of an answer that is this model."""
    return {JSON: Shape(model)}


def events(*names: str) -> Content:
    """The content of a stream of server-sent events, by the shape of each."""
    fields = {"event": {"enum": list(names)}, "id": TEXT, "data": {**TEXT, "description": "JSON"}}
    return {"text/event-stream": {"type": "object", "properties": fields, "required": ["data"]}}


def refused(text: str, *headers: Header) -> Answer:
    """An answer in the one shape of errors, where its status is not that of its code."""
    return Answer(text, json_of(Refusal), headers)


STORE = (ErrorCode.NOT_READY, ErrorCode.DISK_FULL)
"""What a route answers that needs the job table or the data disk, when these fail."""
