"""Names, prompts, languages and empty fields as people and their programs send them, on every route."""

import base64
import re
import unicodedata
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

from btworker.web.options import WIRE_NAMES
from tests.http.dispatching import body as dispatch
from tests.http.resumable import PATCH, TUS
from tests.http.server import BOUNDARY, FORM, Running, field, file, finished, form, part, upload
from tests.http.submitting import (
    Submit,
    as_fields,
    as_one_object,
    by_openai,
    by_the_controller,
    by_tus_alone,
    of_uploads,
)

STRICT = [as_fields, as_one_object, of_uploads, by_tus_alone, by_openai]
PROMPTS = [
    "He wrote <|endoftext|> on the board.",
    "東京都港区" * 800,
    "🏳️‍🌈" * 666,
    "\u202eright to left\u202c \u200f\u05e9\u05dc\u05d5\u05dd",
]


@pytest.mark.parametrize(
    "prompt", PROMPTS, ids=["a sign of the model", "4,000 of CJK", "4,000 of emoji", "right to left"]
)
@pytest.mark.parametrize("submit", [*STRICT, by_the_controller])
async def test_a_prompt_is_text_on_every_route(client: aiohttp.ClientSession, submit: Submit, prompt: str) -> None:
    """It reaches the job character by character."""
    status, job = await submit(client, {"prompt": prompt})
    assert status == 201, job
    assert job["options"]["prompt"] == prompt


@pytest.mark.parametrize("submit", STRICT)
async def test_a_language_is_understood_on_every_route(client: aiohttp.ClientSession, submit: Submit) -> None:
    """A tag with a region is its language; what is unknown is refused with the nearest code, what the model lacks by
    its name."""
    status, job = await submit(client, {"language": "sr-Latn_RS"})
    assert (status, job["options"]["language"]) == (201, "sr")
    status, refusal = await submit(client, {"language": "jp"})
    assert (status, refusal["error"]["param"]) == (400, "language")
    assert "the nearest is ja (japanese)" in refusal["error"]["message"]
    status, refusal = await submit(client, {"language": "zh-yue"})
    assert status == 400
    assert refusal["error"]["message"].startswith("the model 'tiny' does not know cantonese")


async def test_the_controllers_job_is_taken_with_a_warning(client: aiohttp.ClientSession) -> None:
    """A refusal would cost it the job."""
    for number, language in enumerate(("jp", "yue")):
        wanted = dispatch(controllerJobId=f"job-{number}", options={"language": language})
        async with client.post("/v1/jobs", json=wanted) as response:
            job = await response.json()
        assert (response.status, job["options"]["language"]) == (201, "")
        assert "the option was left out" in job["warnings"][0]


EMPTY = [
    "language",
    "prompt",
    "temperature",
    "model",
    "response_format",
    "stream",
    "timestamp_granularities[]",
    "include[]",
]


async def test_an_empty_field_of_openais_is_not_given(client: aiohttp.ClientSession) -> None:
    """For every option alike, also one that is not supported here; the other value of the same name stands."""
    for name in (*EMPTY, "chunking_strategy", "known_speaker_names[]", "no_such_option"):
        status, job = await by_openai(client, {name: ""})
        assert status == 201, (name, job)
    parts = [field("language", ""), field("language", "de"), file(b"speech")]
    async with client.post("/v1/audio/transcriptions", data=form(*parts), headers=FORM) as response:
        assert response.status != 400, await response.text()


@pytest.mark.parametrize("submit", [as_fields, as_one_object, of_uploads, by_tus_alone, by_the_controller])
async def test_an_empty_option_is_not_given(client: aiohttp.ClientSession, submit: Submit) -> None:
    """On every route."""
    status, job = await submit(client, dict.fromkeys(WIRE_NAMES, ""))
    assert status == 201, job
    assert job["options"]["prompt"] == ""
    assert job["options"]["outputs"] == ["json", "md"]


async def test_nothing_at_all_is_no_mistake(client: aiohttp.ClientSession) -> None:
    """An empty object of options, null in JSON, an empty `submit`."""
    assert (await upload(client, field("options", ""), file(b"speech")))[0] == 201
    async with client.post("/v1/jobs", json=dispatch(options=None)) as response:
        assert response.status == 201
    headers = {**TUS, "Upload-Length": "6", "Content-Type": PATCH["Content-Type"]}
    for told in ("submit", "submit ", "filename,submit"):
        async with client.post("/v1/uploads", data=b"speech", headers={**headers, "Upload-Metadata": told}) as response:
            assert (response.status, "Btworker-Job" in response.headers) == (201, True), told
        upload_id = response.headers["Location"].rsplit("/", 1)[1]
    async with client.post("/v1/uploads", data=b"speech", headers=headers) as response:
        upload_id = response.headers["Location"].rsplit("/", 1)[1]
    async with client.post("/v1/jobs", json={"uploads": [upload_id], "options": None}) as response:
        assert response.status == 201


async def test_a_file_input_in_which_nothing_was_chosen_is_not_given(client: aiohttp.ClientSession) -> None:
    """A browser sends it as a file without name and content; alone it is no upload, and an empty file is named."""
    nothing = part('form-data; name="second"; filename=""', b"", "Content-Type: application/octet-stream")
    status, job = await upload(client, nothing, file(b"speech"), nothing, file(b"speech", filename="b.wav"))
    assert (status, [item["inputId"] for item in job["inputs"]]) == (201, ["0", "1"])
    assert (await finished(client, job["workerJobId"]))["status"] == "complete"
    status, refusal = await upload(client, nothing)
    assert (status, refusal["error"]["code"]) == (400, "NO_FILE")
    status, refusal = await upload(client, file(b"", filename="empty.wav"))
    assert (status, refusal["error"]["code"]) == (400, "EMPTY_FILE")


async def test_options_in_the_address_are_taken_as_fields(client: aiohttp.ClientSession) -> None:
    """Judged like them, and twice is twice."""
    body = form(file(b"speech"), field("task", "translate"))
    async with client.post("/v1/jobs?language=de&outputs=srt&outputs=vtt", data=body, headers=FORM) as response:
        job = await response.json()
        assert response.status == 201, job
    assert (job["options"]["language"], job["options"]["outputs"]) == ("de", ["srt", "vtt"])
    for path, named in (
        ("/v1/jobs?langage=de", "langage"),
        ("/v1/jobs?task=translate", "task"),
        ("/v1/jobs?language=jp", "language"),
        ("/v1/audio/transcriptions?langage=de", "langage"),
        ("/v1/audio/transcriptions?task=translate", "task"),
    ):
        async with client.post(path, data=body, headers=FORM) as response:
            answer = await response.json()
        assert (response.status, answer["error"]["param"]) == (400, named), path
    parts = form(file(b"speech"), field("language", "en"))
    async with client.post("/v1/audio/transcriptions?language=de", data=parts, headers=FORM) as response:
        answer = await response.json()
    assert (response.status, answer["error"]["message"]) == (400, "language is given twice")


async def test_options_in_the_address_of_json_and_of_tus(client: aiohttp.ClientSession) -> None:
    """Taken where there is a job; refused by name where there is none yet, and nothing of the upload stays."""
    headers = {**TUS, "Upload-Length": "6", "Content-Type": PATCH["Content-Type"]}
    async with client.post("/v1/uploads?language=de", data=b"speech", headers=headers) as response:
        answer = await response.json()
    assert (response.status, answer["error"]["param"]) == (400, "'language'")
    assert "`submit`" in answer["error"]["message"]
    async with client.post("/v1/uploads", data=b"speech", headers=headers) as response:
        upload_id = response.headers["Location"].rsplit("/", 1)[1]
    async with client.post("/v1/jobs?language=de", json={"uploads": [upload_id]}) as response:
        assert (response.status, (await response.json())["options"]["language"]) == (201, "de")
    async with client.post("/v1/jobs?language=de&x=y", json=dispatch()) as response:
        job = await response.json()
    assert (response.status, job["options"]["language"]) == (201, "de")
    assert job["warnings"] == ["options without effect here: x"]
    async with client.get("/v1/jobs?state=running") as response:
        answer = await response.json()
    assert (response.status, answer["error"]["param"]) == (400, "'state'")


async def test_concatenation_is_refused_by_its_name(client: aiohttp.ClientSession, server: Running) -> None:
    """Before a part of it is kept."""
    for concat in ("partial", "final;/v1/uploads/a /v1/uploads/b"):
        headers = {**TUS, "Upload-Length": "6", "Upload-Concat": concat, "Content-Type": PATCH["Content-Type"]}
        async with client.post("/v1/uploads", data=b"speech", headers=headers) as response:
            answer = await response.json()
        assert (response.status, answer["error"]["param"]) == (400, "Upload-Concat")
        assert "concatenation" in answer["error"]["message"]
    assert not list((server.settings.data_dir / "uploads").glob("*"))


OGG = b"OggS\x00\x02" + bytes(range(256))
UNNAMED = [
    ('form-data; name="file"', "audio/ogg"),
    ('form-data; name="file"', ""),
    ('form-data; name="files[]"', ""),
    ('form-data; name="recording"', "audio/ogg"),
    ('form-data; name="recording"', "application/octet-stream"),
    ('form-data; name="recording"', ""),
    ("form-data", ""),
]


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/audio/transcriptions"])
@pytest.mark.parametrize(("disposition", "kind"), UNNAMED)
async def test_a_file_without_a_filename_gets_one_sentence(
    client: aiohttp.ClientSession, path: str, disposition: str, kind: str
) -> None:
    """Whatever its size is, and its content, where its name or type says that it is a file."""
    contents = [OGG, OGG * 100, OGG * 1000]
    if kind or "file" in disposition:
        contents += [b"", b"all ASCII"]
    found = set()
    for content in contents:
        body = form(part(disposition, content, *([f"Content-Type: {kind}"] if kind else [])))
        async with client.post(path, data=body, headers=FORM) as response:
            error = (await response.json())["error"]
        assert (response.status, error["code"]) == (400, "NO_FILE")
        found.add(error["message"])
    (sentence,) = found
    assert "has no filename" in sentence


async def test_options_sent_as_a_file_are_options(client: aiohttp.ClientSession) -> None:
    """`curl -F options=@options.json`"""
    sent = part('form-data; name="options"; filename="options.json"', b'{"language": "de"}')
    status, job = await upload(client, sent, file(b"speech"))
    assert (status, job["options"]["language"], len(job["inputs"])) == (201, "de", 1)


NAMES = [
    "Gespr\u00e4ch.wav",
    "Gespra\u0308ch.wav",
    "../../Gespr\u00e4ch.wav",
    "C:\\talks\\Gespr\u00e4ch.wav",
    "Gespr\u00e4ch\u202e.wav",
    "Gespr\u00e4ch\x1b.wav",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
async def test_names_are_cleaned_alike_on_every_route(client: aiohttp.ClientSession, name: str) -> None:
    """A form, a resumable upload and the controller: composed, and without paths, controls and overrides."""
    wanted = "Gespr\u00e4ch.wav"
    status, job = await upload(client, file(b"speech", filename=name))
    assert (status, job["inputs"][0]["filename"]) == (201, wanted)
    headers = {**TUS, "Upload-Length": "6", "Content-Type": PATCH["Content-Type"]}
    for raw in (name.encode(), wanted.encode("cp1252")):
        told = f"filename {base64.b64encode(raw).decode()},submit e30="
        async with client.post("/v1/uploads", data=b"speech", headers={**headers, "Upload-Metadata": told}) as response:
            assert response.status == 201
        async with client.get(f"/v1/jobs/{response.headers['Btworker-Job']}") as response:
            assert (await response.json())["inputs"][0]["filename"] == wanted
    inputs = [{"inputId": "a", "filename": name, "downloadUrl": "http://controller.invalid/in"}]
    async with client.post("/v1/jobs", json=dispatch(inputs=inputs)) as response:
        assert (await response.json())["inputs"][0]["filename"] == wanted


@pytest.mark.parametrize(
    "disposition",
    [
        b'form-data; name="file"; filename="Gespr\xe4ch.wav"',
        b'form-data; name="file"; filename="Gespr\xc3\xa4ch.wav"',
        b'form-data; name="file"; filename="Gespra\xcc\x88ch.wav"',
        b'form-data; name="file"; filename="?.wav"; filename*=UTF-8\'\'Gespr%C3%A4ch.wav',
        b"form-data; name=\"file\"; filename*=UTF-8''Gespr%E4ch.wav",
        b"form-data; name=\"file\"; filename*=iso-8859-1''Gespr%E4ch.wav",
        b"form-data; name=\"file\"; filename*=windows-1252''Gespr%E4ch.wav",
    ],
)
async def test_a_name_in_any_encoding_is_taken(client: aiohttp.ClientSession, disposition: bytes) -> None:
    """RFC 8187 first, then UTF-8, then a guess."""
    body = form(b"--" + BOUNDARY.encode() + b"\r\nContent-Disposition: " + disposition + b"\r\n\r\nspeech\r\n")
    async with client.post("/v1/jobs", data=body, headers=FORM) as response:
        job = await response.json()
    assert (response.status, job["inputs"][0]["filename"]) == (201, "Gespr\u00e4ch.wav")


async def test_a_result_is_found_by_its_name_in_either_form(client: aiohttp.ClientSession) -> None:
    """A Mac decomposes what it was given."""
    _, job = await upload(client, file(b"speech", filename="Gespra\u0308ch.wav"))
    job = await finished(client, job["workerJobId"])
    (name,) = {item["filename"] for item in job["outputs"] if item["filename"].endswith(".json")}
    assert name == unicodedata.normalize("NFC", name)
    for form_of_it in ("NFC", "NFD"):
        url = f"/v1/jobs/{job['workerJobId']}/outputs/{quote(unicodedata.normalize(form_of_it, name))}"
        async with client.get(URL(url, encoded=True)) as response:
            assert response.status == 200


async def test_names_that_look_alike_give_results_that_do_not(client: aiohttp.ClientSession) -> None:
    """Two Unicode forms, two cases, a Cyrillic letter."""
    names = ["Gespra\u0308ch.wav", "Gespr\u00e4ch.wav", "GESPR\u00c4CH.mp3", "G\u0435spr\u00e4ch.wav"]
    _, job = await upload(client, *(file(b"speech", filename=name) for name in names))
    job = await finished(client, job["workerJobId"])
    stems = {item["filename"].split(".")[0] for item in job["outputs"]}
    assert {re.sub("_transcript|_speaker", "", stem).partition("-")[2] for stem in stems} == {"", "2", "3", "4"}
