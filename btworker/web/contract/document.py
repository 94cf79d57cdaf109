"""ROUTES -> the OpenAPI document. Pure; made once, when it is first asked for, and never at start."""

import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter

from btworker import __version__
from btworker.errors import ErrorCode
from btworker.web.contract.operation import JSON, Answer, Content, Form, Header, Operation, Schema, Shape
from btworker.web.middlewares import HTTP_STATUS, RETRY_AFTER_S
from btworker.web.refusal import Refusal
from btworker.web.routes import ROUTES, Route
from btworker.web.system.static import Static
from btworker.web.tus.handlers import VERSION

OPENAPI = "3.1.0"
REFERENCE = "#/components/schemas/{model}"
ABOUT = """\
Every error has one shape and a stable code, and every answer an `X-Request-Id`, the request's own where it is sane.
HEAD works wherever GET does. docs/api.md has more."""
EVERYWHERE = (ErrorCode.BAD_REQUEST, ErrorCode.INTERNAL)
"""What any request may be refused with: what is no HTTP, and what nobody thought of."""
REQUEST_ID = Header(
    "X-Request-Id", "the id in the worker's log", {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"}, required=True
)
RETRY_AFTER = Header("Retry-After", "seconds to wait", {"type": "integer", "minimum": 1}, required=True)
_OF_STATUS = {
    401: [Header("WWW-Authenticate", "the scheme", {"const": "Bearer"}, required=True)],
    412: [Header("Tus-Version", "the versions that are spoken", {"const": VERSION}, required=True)],
}
IN_PATH: dict[str, Schema] = {
    "job_id": {"type": "string", "pattern": "^wk_[0-9a-f]{12,64}$"},
    "upload_id": {"type": "string", "pattern": "^up_[0-9a-f]{32}$"},
}
_BRACES = re.compile(r"\{(\w+)(?::[^}]*)?\}")


@functools.cache
def rendered(open_paths: frozenset[str]) -> Static:
    """The document as JSON; `open_paths` need no token."""
    return Static.of(json.dumps(document(open_paths), ensure_ascii=False).encode(), JSON)


def document(open_paths: frozenset[str]) -> dict[str, Any]:
    """The document; the last of ROUTES, which takes what no other did, has no description."""
    schemas = _Schemas(route.about for route in ROUTES if route.about is not None)
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        if route.about is not None:
            writer = _Writer(route, route.about, schemas, is_open=route.path in open_paths)
            paths.setdefault(plain_path(route.path), {})[route.method.lower()] = writer.operation(route.path)
    return {
        "openapi": OPENAPI,
        "info": {"title": "btworker", "version": __version__, "description": ABOUT, "license": {"name": "MIT"}},
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": "WORKER_TOKEN, or a key"}},
        },
    }


def plain_path(pattern: str) -> str:
    """aiohttp's pattern -> OpenAPI's: without the expressions."""
    return _BRACES.sub(r"{\1}", pattern)


class _Schemas:
    """The JSON schemas of all shapes, made together so that each stands among the components once."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        shapes = dict.fromkeys((Shape(Refusal), *(shape for one in operations for shape in _shapes_of(one))))
        inputs = [(shape, _mode(shape), TypeAdapter(shape.of)) for shape in shapes]
        found, whole = TypeAdapter.json_schemas(inputs, ref_template=REFERENCE)
        self._found = {shape: schema for (shape, _), schema in found.items()}
        self.components: dict[str, Any] = whole["$defs"]

    def of(self, shape: Shape) -> Schema:
        """A reference, or the schema of a union."""
        return self._found[shape]

    def fields_of(self, model: Any) -> dict[str, Any]:
        """A model's fields by name, as a form sends them: an absent field is absent and never null."""
        reference = str(self._found[Shape(model, sent=True)]["$ref"])
        return {
            name: _without_null(schema)
            for name, schema in self.components[reference.rpartition("/")[2]]["properties"].items()
        }


def _mode(shape: Shape) -> Any:
    return "validation" if shape.sent else "serialization"


def _shapes_of(operation: Operation) -> Iterator[Shape]:
    if isinstance(operation.query, type):
        yield Shape(operation.query, sent=True)
    for content in (operation.body, *(answer.content for answer in operation.answers.values())):
        for held in content.values():
            if isinstance(held, Shape):
                yield held
            elif isinstance(held, Form) and held.of is not None:
                yield Shape(held.of, sent=True)


def _without_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    rest = {
        name: value for name, value in schema.items() if not (name == "anyOf" or (name == "default" and value is None))
    }
    return {**rest, **kinds[0]} if len(kinds) == 1 else dict(schema)


class _Writer:
    """One operation's part of the document."""

    def __init__(self, route: Route, about: Operation, schemas: _Schemas, *, is_open: bool) -> None:
        self._about = about
        self._schemas = schemas
        self._method = route.method
        self._scopes = sorted(scope.value for scope in route.access.scopes)
        self._is_open = is_open

    def operation(self, pattern: str) -> dict[str, Any]:
        """The Operation Object."""
        about = self._about
        found: dict[str, Any] = {"operationId": about.name, "tags": [about.tag], "summary": about.summary}
        if about.more:
            found["description"] = about.more
        if self._is_open or self._scopes:
            found["security"] = [] if self._is_open else [{"token": self._scopes}]
        if parameters := [*self._in_path(pattern), *self._in_query(), *map(_parameter, about.headers)]:
            found["parameters"] = parameters
        if about.body:
            found["requestBody"] = {"required": about.body_required, "content": self._content(about.body)}
        return {**found, "responses": self._responses()}

    def _in_path(self, pattern: str) -> Iterator[dict[str, Any]]:
        for name in _BRACES.findall(pattern):
            yield {"name": name, "in": "path", "required": True, "schema": {**IN_PATH, **self._about.path}[name]}

    def _in_query(self) -> Iterator[dict[str, Any]]:
        query = self._about.query
        if isinstance(query, tuple):
            wanted = [(one.name, {**one.schema, "description": one.text}) for one in query]
        else:
            wanted = list(self._schemas.fields_of(query).items())
        for name, schema in wanted:
            text = schema.pop("description", "")
            yield {"name": name, "in": "query", "description": text, "schema": schema}

    def _content(self, content: Content) -> dict[str, Any]:
        return {kind: {} if held is None else {"schema": self._schema(held)} for kind, held in content.items()}

    def _schema(self, held: Shape | Form | Schema) -> Schema:
        if isinstance(held, Shape):
            return self._schemas.of(held)
        if isinstance(held, Form):
            fields = {} if held.of is None else self._schemas.fields_of(held.of)
            shape = {"type": "object", "properties": {**held.fields, **fields}, "additionalProperties": False}
            return {**shape, "required": list(held.required)}
        return held

    def _responses(self) -> dict[str, Any]:
        written = {status: self._answer(answer) for status, answer in self._about.answers.items()}
        refusals = {status: self._refusal(status, codes) for status, codes in self._codes().items()}
        return {str(status): answer for status, answer in sorted({**refusals, **written}.items())}

    def _codes(self) -> dict[int, list[ErrorCode]]:
        codes = [*EVERYWHERE, *self._about.refusals]
        if not self._is_open:
            codes += [ErrorCode.UNAUTHORIZED, ErrorCode.RATE_LIMITED, *([ErrorCode.FORBIDDEN] if self._scopes else [])]
        found: dict[int, list[ErrorCode]] = {}
        for code in dict.fromkeys(codes):
            found.setdefault(HTTP_STATUS[code], []).append(code)
        return found

    def _refusal(self, status: int, codes: list[ErrorCode]) -> dict[str, Any]:
        headers = [RETRY_AFTER] if status in RETRY_AFTER_S else _OF_STATUS.get(status, [])
        names = [code.value for code in codes]
        shape = {"properties": {"error": {"properties": {"code": {"enum": names}}}}}
        schema = {"allOf": [self._schemas.of(Shape(Refusal)), shape]}
        return self._answer(Answer(", ".join(names), {JSON: schema}, tuple(headers)), surely=status != 400)

    def _answer(self, answer: Answer, *, surely: bool = True) -> dict[str, Any]:
        """`surely`: by the route, and not by the parser, which refuses what is no HTTP and knows no routes."""
        always = [replace(header, required=surely) for header in self._about.always]
        headers = {header.name: _header(header) for header in (*answer.headers, *always, REQUEST_ID)}
        found: dict[str, Any] = {"description": answer.text, "headers": headers}
        if answer.content and self._method != "HEAD":
            found["content"] = self._content(answer.content)
        if answer.links:
            found["links"] = {
                link.operation: {"operationId": link.operation, "parameters": {link.parameter: link.found}}
                for link in answer.links
            }
        return found


def _parameter(header: Header) -> dict[str, Any]:
    return {"name": header.name, "in": "header", **_header(header)}


def _header(header: Header) -> dict[str, Any]:
    return {"description": header.text, "required": header.required, "schema": header.schema}
