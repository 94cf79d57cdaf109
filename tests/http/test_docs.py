"""/openapi.json and /docs: nothing is missing, nothing is made up, and a browser needs no other server."""

import re
from collections.abc import Iterator
from typing import Any

import aiohttp
import jsonschema
import pytest

from btworker.web.app import build_app
from btworker.web.contract import jobs, speech, uploads
from btworker.web.contract.document import document, plain_path
from btworker.web.contract.operation import FORM, Form
from btworker.web.fallback import CANONICAL
from btworker.web.middlewares import HTTP_STATUS
from btworker.web.openai.handlers import KNOWN
from btworker.web.routes import open_paths
from tests.http.server import Running

OPENERS = re.compile(r"""(?:src|href)="([^"]+)\"""")
ELSEWHERE = re.compile(r"(?:https?:)?//[\w.-]+", re.IGNORECASE)


@pytest.fixture
async def stranger(server: Running) -> Any:
    """Someone without a token."""
    async with aiohttp.ClientSession(server.url) as session:
        yield session


@pytest.fixture
async def found(stranger: aiohttp.ClientSession) -> dict[str, Any]:
    """The document as it is served."""
    async with stranger.get("/openapi.json") as response:
        assert (response.status, response.content_type) == (200, "application/json")
        body: dict[str, Any] = await response.json()
        return body


def operations(found: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(method, path, operation)"""
    for path, item in found["paths"].items():
        for method, operation in item.items():
            yield method.upper(), path, operation


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in it."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from nodes(item)


async def test_every_route_is_described_and_no_other(found: dict[str, Any], server: Running) -> None:
    """Found by walking the router: what it answers, but for HEAD where there is GET and for what no route took."""
    app = build_app(server.settings, server.service, server.metrics)
    routed = {(route.method, route.resource.canonical) for route in app.router.routes() if route.resource is not None}
    implied = {("HEAD", path) for method, path in routed if method == "GET"}
    assert len(routed) > 25
    assert {(method, path) for method, path, _ in operations(found)} == routed - implied - {("*", CANONICAL)}


async def test_what_needs_no_token_says_so(found: dict[str, Any], server: Running) -> None:
    """And everything else has 401 among its answers."""
    still_open = {plain_path(path) for path in open_paths(server.settings)}
    for method, path, operation in operations(found):
        assert (operation.get("security") == []) is (path in still_open), (method, path)
        assert ("401" in operation["responses"]) is (path not in still_open), (method, path)
    assert found["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    with_ping = document(open_paths(server.settings) | {"/v1/ping"})
    assert with_ping["paths"]["/v1/ping"]["get"]["security"] == []


async def test_the_document_holds_together(found: dict[str, Any]) -> None:
    """Every reference leads somewhere, names are used once, links name operations, every schema is one."""
    names = [operation["operationId"] for _, _, operation in operations(found)]
    assert len(names) == len(set(names))
    for node in nodes(found):
        if isinstance(reference := node.get("$ref"), str):
            assert reference.removeprefix("#/components/schemas/") in found["components"]["schemas"]
        if isinstance(linked := node.get("operationId"), str):
            assert linked in names
        if isinstance(schema := node.get("schema"), dict):
            jsonschema.Draft202012Validator.check_schema(schema)
    for schema in found["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


async def test_refusals_stand_at_their_status(found: dict[str, Any]) -> None:
    """Each with the codes that middlewares.py gives that number, and nothing of how the worker is built."""
    numbers = {code.value: status for code, status in HTTP_STATUS.items()}
    seen = set()
    for _, path, operation in operations(found):
        for status, answer in operation["responses"].items():
            schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
            for part in schema.get("allOf", ())[1:]:
                codes = part["properties"]["error"]["properties"]["code"]["enum"]
                assert {numbers[code] for code in codes} == {int(status)}, (path, status)
                seen |= set(codes)
    never = {"LENGTH_REQUIRED", "METHOD_NOT_ALLOWED", "PRECONDITION_FAILED", "RANGE_NOT_SATISFIABLE"}
    assert seen == set(numbers) - never, "what no operation answers, or answers in a description of its own"


def test_forms_name_what_is_read() -> None:
    """OpenAI's fields are taken apart by hand: those that are described are those that are known."""
    for operation in (speech.TRANSCRIBE, speech.TRANSLATE):
        form = operation.body[FORM]
        assert isinstance(form, Form)
        assert {name.removesuffix("[]") for name in form.fields} == {"file", *KNOWN}
    assert FORM in jobs.CREATE.body
    assert not uploads.CREATE.body_required


async def test_the_page_works_without_another_server(stranger: aiohttp.ClientSession) -> None:
    """All that it loads is here and has its type; its policy allows nothing else."""
    async with stranger.get("/docs") as response:
        page = await response.text()
        assert response.content_type == "text/html"
        rules = dict(rule.split(" ", 1) for rule in response.headers["Content-Security-Policy"].split("; "))
    assert rules.pop("img-src") == "'self' data:"
    assert set(rules.values()) == {"'self'", "'none'"}
    assert rules["default-src"] == rules["frame-ancestors"] == "'none'"
    assert not ELSEWHERE.search(page)
    assert "<script>" not in page
    types = {"js": "text/javascript", "css": "text/css", "png": "image/png"}
    loaded = OPENERS.findall(page)
    assert len(loaded) == 4
    for place in loaded:
        async with stranger.get(f"/{place}") as response:
            assert (response.status, response.content_type) == (200, types[place.rsplit(".", 1)[1]])
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert "Content-Disposition" not in response.headers
            body = await response.read()
            tag = response.headers["ETag"]
        if place.endswith(".css"):
            assert set(re.findall(rb"url\(([^)]{5})", body)) <= {b"data:", b'"data', b"'data"}
        async with stranger.get(f"/{place}", headers={"If-None-Match": tag}) as response:
            assert response.status == 304
    async with stranger.get("/docs/start.js") as response:
        start = await response.text()
    assert 'url: "openapi.json"' in start
    assert "persistAuthorization: false" in start
    assert not ELSEWHERE.search(start.replace("// ", ""))


@pytest.mark.parametrize("name", ["swagger-ui.js", "LICENSE", "..%2f__init__.py", "index.html", "docs.py", "%00"])
async def test_only_the_pages_own_files_are_served(stranger: aiohttp.ClientSession, name: str) -> None:
    """Whatever lies beside them."""
    async with stranger.get(f"/docs/{name}") as response:
        assert response.status in (401, 404)
