"""Requests to OpenAI's routes as programs send them: lists, numbers, long prompts, several files, Groq's path."""

import json
from typing import Any

import aiohttp
import pytest

from tests.http.server import FORM, Running, field, file, form, request_head

SPEECH = "/v1/audio/transcriptions"
GROQS = "/openai/v1/audio/transcriptions"


@pytest.fixture
def overrides() -> dict[str, object]:
    """Some of OpenAI's models, as openai-whisper calls them."""
    return {"models": "tiny,large-v3,small.en"}


async def answered(client: aiohttp.ClientSession, *parts: bytes, path: str = SPEECH) -> tuple[int, str, str]:
    """Status, content type and body; the job says its prompt."""
    async with client.post(path, data=form(field("prompt", "say one. two"), *parts), headers=FORM) as response:
        return response.status, response.headers["Content-Type"], await response.text()


async def latest(client: aiohttp.ClientSession) -> dict[str, Any]:
    """The options of the newest job."""
    async with client.get("/v1/jobs") as response:
        options: dict[str, Any] = (await response.json())["jobs"][0]["options"]
        return options


async def test_the_text_is_one_line(client: aiohttp.ClientSession) -> None:
    """And the same as that of json: programs show it as it comes."""
    _, kind, text = await answered(client, field("response_format", "text"), file(b"speech"))
    assert (kind, text) == ("text/plain; charset=utf-8", "one. two\n")


@pytest.mark.parametrize("name", ["timestamp_granularities[]", "timestamp_granularities"])
async def test_segments_may_be_asked_for_in_every_format(client: aiohttp.ClientSession, name: str) -> None:
    """The AI SDK asks for them with json; words are refused where the answer has no place for them."""
    for response_format in ("json", "text", "srt", "diarized_json"):
        parts = field(name, "segment"), field("response_format", response_format), file(b"speech")
        assert (await answered(client, *parts))[0] == 200, response_format
        status, _, body = await answered(client, field(name, "word"), *parts)
        assert (status, json.loads(body)["error"]["param"]) == (400, "timestamp_granularities")


@pytest.mark.parametrize(
    "granularities",
    [
        [("timestamp_granularities", '["word", "segment"]')],
        [("timestamp_granularities[]", '["segment","word"]')],
        [("timestamp_granularities[0]", "word"), ("timestamp_granularities[1]", "segment")],
        [("timestamp_granularities[]", "word"), ("timestamp_granularities", "segment")],
    ],
    ids=["one list in JSON", "with brackets", "with numbers", "with and without brackets"],
)
async def test_a_list_is_understood_in_every_spelling(
    client: aiohttp.ClientSession, granularities: list[tuple[str, str]]
) -> None:
    """As Groq's documentation writes it, as PHP has to, and as OpenAI's clients do."""
    parts = [field(*one) for one in granularities]
    _, _, body = await answered(client, *parts, field("response_format", "verbose_json"), file(b"speech"))
    assert {"words", "segments"} <= json.loads(body).keys()


@pytest.mark.parametrize("path", [SPEECH, "/v1/jobs"])
async def test_keywords_may_be_one_list_in_json(client: aiohttp.ClientSession, path: str) -> None:
    """Its items are the keywords, with their commas; what only looks like a list is text, an empty one is not given."""
    for sent, kept in [
        ('["Ann Lovelace", "Washington, D.C."]', ["Ann Lovelace", "Washington, D.C."]),
        ("[sic]", ["[sic]"]),
        ("[]", []),
    ]:
        await answered(client, field("keywords", sent), file(sent.encode()), path=path)
        assert (await latest(client))["keywords"] == kept


@pytest.mark.parametrize("zero", ["0", "0.0", "0.000000", "0.00", "-0.0", "0e0"])
async def test_a_temperature_of_zero_rises_however_it_is_printed(client: aiohttp.ClientSession, zero: str) -> None:
    """As OpenAI's does, where a window fails."""
    await answered(client, field("temperature", zero), file(b"speech"))
    assert (await latest(client))["temperature"] is None


async def test_of_a_long_prompt_the_end_counts(client: aiohttp.ClientSession) -> None:
    """OpenAI takes prompts of any length and shows the model their end; on our own routes there is a limit."""
    prompt = "word " * 2000 + "the end"
    parts = field("prompt", prompt), file(b"speech")
    async with client.post(SPEECH, data=form(*parts), headers=FORM) as response:
        assert response.status != 400, await response.text()
    assert (await latest(client))["prompt"] == prompt[-4000:]
    async with client.post("/v1/jobs", data=form(*parts), headers=FORM) as response:
        assert (response.status, (await response.json())["error"]["param"]) == (400, "prompt")


@pytest.mark.parametrize("path", [SPEECH, "/v1/audio/translations", GROQS])
async def test_a_second_file_is_refused(client: aiohttp.ClientSession, path: str) -> None:
    """The answer would be the transcript of the first, and nobody would miss the other."""
    status, _, body = await answered(client, file(b"one"), file(b"two", filename="two.wav"), path=path)
    assert (status, json.loads(body)["error"]["param"]) == (400, "file")
    assert "POST /v1/jobs takes several" in body
    async with client.get("/v1/jobs") as response:
        assert (await response.json())["jobs"] == []


@pytest.mark.parametrize("overrides", [{"interim_s": 0.1}])
@pytest.mark.parametrize("known", [("Sec-Fetch-Mode", "cors"), ("X-Stainless-Lang", "python")])
async def test_who_counts_silence_is_told_that_the_job_goes_on(
    server: Running, client: aiohttp.ClientSession, known: tuple[str, str]
) -> None:
    """fetch in Node gives up 300 s after the last sign; other clients get the answer alone: some take a 102 for it."""
    body = form(field("prompt", "hold"), file(b"speech"))
    headers = {**FORM, "Content-Length": str(len(body))}
    async with server.connect() as waiting, server.connect() as other:
        waiting.send(request_head("POST", SPEECH, {**headers, known[0]: known[1]}) + body)
        other.send(request_head("POST", SPEECH, {**headers, "Connection": "close"}) + body)
        for _ in range(2):
            assert await waiting.until(b"\r\n\r\n") == b"HTTP/1.1 102 Processing\r\n\r\n"
        server.pool.release.set()
        assert (await other.all()).startswith(b"HTTP/1.1 404 ")
        last = (await waiting.all()).replace(b"HTTP/1.1 102 Processing\r\n\r\n", b"")
        assert last.startswith(b"HTTP/1.1 404 ") and b"\r\nConnection: close\r\n" in last
    async with client.get("/v1/jobs") as response:
        assert len((await response.json())["jobs"]) == 1


async def test_groqs_clients_find_their_path_and_their_field(client: aiohttp.ClientSession) -> None:
    """Each answer in JSON has the request's id, without which the AI SDK takes none; OpenAI's have not."""
    for response_format in ("json", "verbose_json"):
        parts = field("response_format", response_format), field("model", "whisper-large-v3"), file(b"speech")
        headers = {**FORM, "X-Request-Id": "abc"}
        async with client.post(GROQS, data=form(field("prompt", "say hi"), *parts), headers=headers) as response:
            answer = await response.json()
        assert (answer["text"], answer["x_groq"]) == ("hi", {"id": "req_abc"})
        assert "x_groq" not in json.loads((await answered(client, *parts))[2])
    for path in ("models", "models/tiny"):
        async with client.get(f"/openai/v1/{path}") as response:
            assert response.status == 200


@pytest.mark.parametrize("path", [SPEECH, "/v1/jobs"])
@pytest.mark.parametrize(
    ("called", "model"),
    [
        ("whisper-large-v3", "large-v3"),
        ("openai/whisper-large-v3", "large-v3"),
        ("Systran/faster-whisper-large-v3", "large-v3"),
        ("faster-whisper-small.en", "small.en"),
        ("guillaumekln/faster-whisper-tiny", "tiny"),
        ("openai/whisper-medium", None),
        ("somebody/whisper-large-v3", None),
        ("Systran/faster-distil-whisper-large-v3", None),
        ("whisper-", None),
    ],
)
async def test_others_names_of_openais_models(
    client: aiohttp.ClientSession, path: str, called: str, model: str | None
) -> None:
    """The same weights are meant, where they are offered; a fine-tune is somebody's own, and is refused."""
    status, _, body = await answered(client, field("model", called), file(b"speech"), path=path)
    if model is None:
        assert (status, json.loads(body)["error"]["param"]) == (400, "model")
    else:
        assert (await latest(client))["model"] == model


async def test_a_url_that_is_refused_names_its_field(client: aiohttp.ClientSession) -> None:
    """And what the worker would take, for whoever meant the machine that they sit at."""
    refused = await answered(client, field("url", "http://localhost:9000/talk.mp3"))
    error = json.loads(refused[2])["error"]
    assert (refused[0], error["code"], error["param"]) == (403, "URL_REFUSED", "url")
    assert "own machine" in error["message"]
    assert "WORKER_ALLOWED_HOSTS" not in error["message"], "nobody is told to open the worker itself"


async def test_another_method_hears_which_there_are(client: aiohttp.ClientSession) -> None:
    """In the header, and in the sentence, which is all that most clients show."""
    async with client.get(SPEECH) as response:
        error = (await response.json())["error"]
        assert (response.status, response.headers["Allow"]) == (405, "POST")
        assert error["message"] == "method not allowed; this address takes POST"


async def test_fields_of_other_servers_programs(client: aiohttp.ClientSession) -> None:
    """Of those for speaches and LocalAI: hotwords are keywords, a filter of voices is nothing new, and speakers are
    told apart where the answer shows them."""
    hotwords = field("hotwords", "Ann, New York,"), field("vad_filter", "True")
    assert (await answered(client, field("keywords[]", "Lee, Jr."), *hotwords, file(b"speech")))[0] == 200
    found = await latest(client)
    assert (found["keywords"], found["diarizationEnabled"]) == (["Lee, Jr.", "Ann", "New York"], False)
    for name in ("diarization", "diarize"):
        for shape, shown in (("verbose_json", True), ("srt", True), ("json", False)):
            parts = field(name, "true"), field("response_format", shape), file(f"{name} {shape}".encode())
            assert (await answered(client, *parts))[0] == 200
            assert (await latest(client))["diarizationEnabled"] is shown, shape


@pytest.mark.parametrize("name", ["stream", "vad_filter", "diarization", "diarize"])
async def test_what_is_neither_true_nor_false_is_refused(client: aiohttp.ClientSession, name: str) -> None:
    """By its name."""
    status, _, body = await answered(client, field(name, "maybe"), file(b"speech"))
    assert (status, json.loads(body)["error"]["message"]) == (400, f"{name} must be true or false")
