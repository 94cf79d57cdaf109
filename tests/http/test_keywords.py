"""Keywords on every route: what is taken, what becomes of it, and what is said of a wrong one."""

from typing import Any

import aiohttp
import pytest

from tests.http.server import FORM, field, file, form, upload
from tests.http.submitting import Submit, as_one_object, by_the_controller, by_tus_alone, of_uploads, of_urls

TERMS = ["Ann Lovelace", "Washington, D.C.", "K\u00f6ln", "\u6771\u4eac"]
"""As they are kept: one has a comma, one is in composed form."""
SENT = [" Ann  Lovelace", "Washington, D.C.", "Ko\u0308ln", "\u6771\u4eac", "K\u00f6ln"]


@pytest.fixture
def overrides() -> dict[str, object]:
    """Small limits."""
    return {"max_keywords": 100, "max_keyword_chars": 20}


async def as_repeated_fields(client: aiohttp.ClientSession, options: dict[str, Any]) -> tuple[int, Any]:
    """A field for each."""
    return await upload(client, *(field("keywords", word) for word in options["keywords"]), file(b"speech"))


async def by_openai(client: aiohttp.ClientSession, options: dict[str, Any]) -> tuple[int, Any]:
    """As its clients send lists."""
    parts = form(*(field("keywords[]", word) for word in options["keywords"]), file(b"speech"))
    async with client.post("/v1/audio/transcriptions", data=parts, headers=FORM) as response:
        if response.status == 400:
            return 400, await response.json()
    async with client.get("/v1/jobs") as response:
        return 201, (await response.json())["jobs"][0]


ROUTES = [as_repeated_fields, as_one_object, of_uploads, of_urls, by_tus_alone, by_openai]


@pytest.mark.parametrize("submit", [*ROUTES, by_the_controller])
async def test_keywords_reach_the_job_on_every_route(client: aiohttp.ClientSession, submit: Submit) -> None:
    """As text in one form, each once, with the worker's bonus and room in the prompt."""
    status, job = await submit(client, {"keywords": SENT})
    assert status == 201, job
    assert job["options"]["keywords"] == TERMS
    assert job["options"]["keywordBonus"] > 0


@pytest.mark.parametrize("submit", ROUTES)
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([f"name {n}" for n in range(101)], "there are 101; at most 100 are taken here (WORKER_MAX_KEYWORDS)"),
        (["Ann", "x" * 21], "number 2 has 21 characters, more than 20 (WORKER_MAX_KEYWORD_CHARS)"),
        (["Ann\u0000"], "number 1 has a control character"),
        (["Ann", "\u202eBob"], "number 2 has a control character"),
    ],
    ids=["too many", "too long", "control", "direction"],
)
async def test_a_wrong_one_is_named(
    client: aiohttp.ClientSession, submit: Submit, words: list[str], sentence: str
) -> None:
    """By its number, with the setting that has the limit."""
    status, refusal = await submit(client, {"keywords": words})
    assert (status, refusal["error"]["code"], refusal["error"]["param"]) == (400, "BAD_OPTION", "keywords")
    assert sentence in refusal["error"]["message"]


async def test_the_controllers_job_goes_without_wrong_ones(client: aiohttp.ClientSession) -> None:
    """And says so."""
    status, job = await by_the_controller(client, {"keywords": ["x" * 21]})
    assert (status, job["options"]["keywords"]) == (201, [])
    assert "WORKER_MAX_KEYWORD_CHARS" in job["warnings"][0]
    assert "the option was left out" in job["warnings"][0]


async def test_fields_have_a_limit_together(client: aiohttp.ClientSession) -> None:
    """Many keywords may be many fields, and still not fill the memory."""
    many = (field("keywords", "x" * 60_000) for _ in range(100))
    status, refusal = await upload(client, *many, file(b"speech"))
    assert (status, refusal["error"]["code"]) == (400, "BAD_MULTIPART")
    assert "larger than 4 MiB together" in refusal["error"]["message"]
