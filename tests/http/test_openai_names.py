"""Programs that have a model of OpenAI's, or another server's, built in: what its name means here."""

from typing import Any

import aiohttp
import pytest
from yarl import URL

from btworker.web.openai.names import NAMES
from tests.http.server import FORM, field, file, form

MODELS = "tiny,large-v3"
ALIASES = (("Systran/faster-whisper-large-v3", "large-v3"), ("gpt-4o-mini-transcribe", "large-v3"))


@pytest.fixture
def overrides() -> dict[str, object]:
    """Two models, and other names for one of them."""
    return {"models": MODELS, "model_aliases": ALIASES}


async def asked(
    client: aiohttp.ClientSession, *fields: tuple[str, str]
) -> tuple[int, Any, aiohttp.typedefs.LooseHeaders]:
    """Status, the job's options or the error, and the headers."""
    parts = form(*(field(name, value) for name, value in fields), file(b"speech"))
    async with client.post("/v1/audio/transcriptions", data=parts, headers=FORM) as response:
        if response.status == 400:
            return 400, (await response.json())["error"], response.headers
    async with client.get("/v1/jobs") as jobs:
        return response.status, (await jobs.json())["jobs"][0]["options"], response.headers


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("whisper-1", "tiny"),
        ("gpt-4o-transcribe", "tiny"),
        ("gpt-4o-transcribe-2025-03-20", "tiny"),
        ("gpt-5-nano-transcribe", "tiny"),
        ("gpt-4o-mini-transcribe", "large-v3"),
        ("Systran/faster-whisper-large-v3", "large-v3"),
        ("large-v3", "large-v3"),
    ],
)
async def test_a_name_means_a_model_that_is_there(client: aiohttp.ClientSession, name: str, model: str) -> None:
    """OpenAI's mean the default one, unless the operator says otherwise; his own names come first."""
    _, options, _ = await asked(client, ("model", name))
    assert options["model"] == model


@pytest.mark.parametrize("name", ["gpt-7", "gpt-4o", "whisper-large", "tts-1", "gpt-4o-transcribe-2025"])
async def test_another_name_is_refused(client: aiohttp.ClientSession, name: str) -> None:
    """With those that there are."""
    status, error, _ = await asked(client, ("model", name))
    assert (status, error["param"]) == (400, "model")
    assert "tiny, large-v3" in error["message"]


async def test_outputs_go_into_no_bucket_from_here(client: aiohttp.ClientSession) -> None:
    """Refused by its name before anything is done, and not passed over: somebody would wait for them there."""
    status, error, _ = await asked(client, ("outputsTo", "s3://archive/results/texts"))
    assert (status, error["param"]) == (400, "outputsTo")
    async with client.get("/v1/jobs") as jobs:
        assert (await jobs.json())["jobs"] == []


async def test_aliases_work_for_jobs(client: aiohttp.ClientSession) -> None:
    """On every route; the job says which model that is."""
    parts = form(field("model", ALIASES[0][0]), file(b"speech"))
    async with client.post("/v1/jobs", data=parts, headers=FORM) as response:
        assert (await response.json())["options"]["model"] == "large-v3"


@pytest.mark.parametrize(
    ("fields", "speakers"),
    [
        ([("model", "gpt-4o-transcribe-diarize"), ("response_format", "diarized_json")], True),
        ([("model", "gpt-4o-transcribe-diarize"), ("response_format", "srt")], True),
        ([("model", "gpt-4o-transcribe-diarize"), ("chunking_strategy", "auto")], False),
        ([("model", "gpt-4o-transcribe"), ("response_format", "diarized_json")], True),
        ([("model", "gpt-4o-transcribe"), ("response_format", "srt")], False),
    ],
)
async def test_a_model_that_tells_speakers_apart(
    client: aiohttp.ClientSession, fields: list[tuple[str, str]], speakers: bool
) -> None:
    """Where the format shows them: nobody waits for what the answer has no place for."""
    _, options, _ = await asked(client, *fields)
    assert options["diarizationEnabled"] is speakers


async def test_a_list_of_languages(client: aiohttp.ClientSession) -> None:
    """One is that language; of several, the language is detected among them; not beside a language."""
    _, options, _ = await asked(client, ("languages[]", "de"))
    assert (options["language"], options["languages"]) == ("de", [])
    _, options, _ = await asked(client, ("languages[]", "German"), ("languages[]", "en-GB"), ("languages[]", "de"))
    assert (options["language"], options["languages"]) == ("", ["de", "en"])
    for fields in (
        [("languages[]", "de"), ("language", "de")],
        [("languages[]", "klingon")],
        [("languages", "auto,de")],
    ):
        status, error, _ = await asked(client, *fields)
        assert (status, error["param"]) == (400, "languages")


async def test_channels_and_ranges_are_our_options(client: aiohttp.ClientSession) -> None:
    """By our names, beside OpenAI's fields; what is wrong with one is named."""
    _, options, _ = await asked(client, ("channels", "separate"), ("start", "0:01:00"), ("end", "90.5"))
    assert options["channels"] == "separate"
    assert options["ranges"] == [{"start": 60.0, "end": 90.5}]
    _, options, _ = await asked(client, ("multichannel", "true"), ("ranges[]", "1:00-"), ("ranges[]", "0-5"))
    assert (options["channels"], [one["start"] for one in options["ranges"]]) == ("separate", [0.0, 60.0])
    for name, value in (("channels", "left"), ("start", "soon"), ("ranges", "5-1")):
        status, error, _ = await asked(client, (name, value))
        assert (status, error["param"]) == (400, name)


async def test_models_are_listed_by_all_their_names(client: aiohttp.ClientSession) -> None:
    """Each of them can be asked for, once."""
    async with client.get("/v1/models") as response:
        names = [model["id"] for model in (await response.json())["data"]]
    assert len(names) == len(set(names))
    assert set(names) == {"tiny", "large-v3", ALIASES[0][0], *NAMES}
    for name in (NAMES[1], ALIASES[0][0], ALIASES[0][0].replace("/", "%2F")):  # the other half of the clients quotes it
        async with client.get(URL(f"/v1/models/{name}", encoded=True)) as response:
            assert (response.status, (await response.json())["id"]) == (200, name.replace("%2F", "/"))
    async with client.get("/v1/models/gpt-7") as response:
        assert response.status == 404


@pytest.mark.parametrize("overrides", [{"queue_limit": 3}])
async def test_the_room_of_the_queue_is_in_the_headers(client: aiohttp.ClientSession) -> None:
    """As OpenAI's clients read it: how many more may wait."""
    async with client.post("/v1/jobs", data=form(field("prompt", "hold"), file(b"runs")), headers=FORM) as response:
        assert response.status == 201
    for waiting in (1, 2):
        parts = form(field("prompt", f"hold {waiting}"), field("stream", "true"), file(b"waits"))
        async with client.post("/v1/audio/transcriptions", data=parts, headers=FORM) as response:
            names = ("limit", "remaining", "reset")
            found = [response.headers[f"x-ratelimit-{name}-requests"] for name in names]
        assert found == ["3", str(3 - waiting), "0s"]
