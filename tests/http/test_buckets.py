"""Inputs from buckets and outputs into them, by a server that speaks S3: whole, resumed, refused, and whose they are.

Every request's signature is recomputed by the proxy in front (tests/buckets.py).
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest

from btworker.config.stores import load_stores
from btworker.delivery.buckets import PART_BYTES, Buckets
from btworker.locations import S3Prefix
from tests.buckets import SECRET, Asked, Storage, Trouble, cleared, storage
from tests.http.keyring import key
from tests.http.server import Running, field, file, finished, upload
from tests.http.submitting import Submit, as_one_object, by_tus_alone, of_uploads
from tests.waiting import eventually

SOUND = Random(7).randbytes(3_000_000)
SHA256 = hashlib.sha256(SOUND).hexdigest()
NAME = "Gespräch #1 a+b%20c.wav"
TEXTS = {"s3": {"store": "archive", "bucket": "results", "prefix": "texts/2026"}}


@pytest.fixture(scope="module")
def all_storage() -> Iterator[Storage]:
    with storage() as found:
        yield found


@pytest.fixture
def store(all_storage: Storage) -> Iterator[Storage]:
    with cleared(all_storage) as found:
        yield found


@pytest.fixture
def overrides(store: Storage, tmp_path: Path) -> dict[str, object]:
    """A store with folders that are open, and a bucket that is not there."""
    stores = store.stores_file(
        tmp_path, read=["recordings/calls/", "recordings/public", "nowhere"], write=["results/texts", "nowhere"]
    )
    return {"stores_file": stores, "download_retry_s": 20.0, "delivery_hours": 1.0}


def recording(name: str = f"calls/{NAME}", **changes: str) -> dict[str, Any]:
    """An input in the bucket."""
    return {"s3": {"store": "archive", "bucket": "recordings", "key": name, **changes}}


async def sent(client: aiohttp.ClientSession, body: object, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """Status and answer."""
    async with client.post("/v1/jobs", json=body, headers=headers) as response:
        return response.status, await response.json()


async def ended(client: aiohttp.ClientSession, body: object) -> dict[str, Any]:
    """The job of a body that is accepted, once it has ended."""
    status, job = await sent(client, body)
    assert status == 201, job
    return await finished(client, job["workerJobId"])


async def test_an_object_is_an_input(client: aiohttp.ClientSession, store: Storage) -> None:
    """Byte for byte, under the last part of its key, beside a second one with a name of its own."""
    store.put(f"calls/{NAME}", SOUND)
    store.put("public", b"not below it", bucket="recordings")
    store.put("public/x", b"speech")
    job = await ended(client, {"inputs": [recording(), {**recording("public/x"), "filename": "x.wav"}]})
    assert job["status"] == "complete"
    assert [(item["filename"], item["sizeBytes"]) for item in job["inputs"]] == [(NAME, len(SOUND)), ("x.wav", 6)]
    assert job["inputs"][0]["sha256"] == SHA256
    assert job["delivery"] is None


async def test_a_form_may_name_one(client: aiohttp.ClientSession, store: Storage) -> None:
    """In place of a file, by the address of the store's own."""
    store.put("calls/talk.wav", SOUND)
    status, job = await upload(client, field("url", "s3://archive/recordings/calls/talk.wav"))
    assert status == 201, job
    job = await finished(client, job["workerJobId"])
    assert (job["status"], job["inputs"][0]["filename"], job["inputs"][0]["sha256"]) == ("complete", "talk.wav", SHA256)


async def test_a_line_that_breaks_is_gone_on_with(client: aiohttp.ClientSession, store: Storage) -> None:
    """Twice; the rest is asked for only of the same object."""
    store.put("calls/talk.wav", SOUND)
    store.trouble = Trouble(at=lambda asked: asked.method == "GET", cut_after=1_200_000, times=2)
    job = await ended(client, {"inputs": [recording("calls/talk.wav")]})
    assert (job["status"], job["inputs"][0]["sha256"]) == ("complete", SHA256)
    tries = [(one.headers.get("range"), "if-match" in one.headers) for one in store.asked]
    assert tries[0] == (None, False)
    assert len(tries) == 3
    assert all(offset is not None and has_etag for offset, has_etag in tries[1:])


async def test_an_object_that_changes_is_begun_anew(client: aiohttp.ClientSession, store: Storage) -> None:
    """Never half of one and half of another."""
    store.put("calls/talk.wav", b"another one" * 300_000)

    def change(asked: Asked) -> bool:
        if "range" in asked.headers:
            store.put("calls/talk.wav", SOUND)
            store.trouble = None
        return True

    store.trouble = Trouble(at=change, cut_after=1_200_000)
    job = await ended(client, {"inputs": [recording("calls/talk.wav")]})
    assert (job["status"], job["inputs"][0]["sha256"]) == ("complete", SHA256)


async def test_one_that_never_stays_the_same_ends_the_job(client: aiohttp.ClientSession, store: Storage) -> None:
    """After a few beginnings, with a sentence."""
    number = iter(range(100))

    def change() -> None:
        store.put("calls/talk.wav", bytes([next(number)]) * 3_000_000)

    change()
    store.trouble = Trouble(before=change, cut_after=1_200_000)
    job = await ended(client, {"inputs": [recording("calls/talk.wav")]})
    assert (job["error"]["code"], job["error"]["message"]) == (
        "DOWNLOAD_FAILED",
        "talk.wav changed while it was read, 5 times",
    )


async def test_a_store_that_is_unwell_is_asked_again(client: aiohttp.ClientSession, store: Storage) -> None:
    """Until it is well."""
    store.put("calls/talk.wav", SOUND)
    store.trouble = Trouble(status=503, times=2)
    job = await ended(client, {"inputs": [recording("calls/talk.wav")]})
    assert (job["status"], len(store.asked)) == ("complete", 3)


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (403, "the store archive refuses this worker's credentials for the bucket recordings; ask its operator"),
        (404, "the store archive has no such object in the bucket recordings"),
        (400, "the store archive answered 400"),
        (301, "the store archive is elsewhere: its region or endpoint is another"),
    ],
)
async def test_what_a_store_refuses_ends_the_job(
    client: aiohttp.ClientSession, store: Storage, status: int, sentence: str
) -> None:
    """At once, with its reason, and without the address of the store."""
    store.put("calls/talk.wav", SOUND)
    store.trouble = Trouble(status=status)
    job = await ended(client, {"inputs": [recording("calls/talk.wav")]})
    assert (job["error"]["code"], job["error"]["message"]) == ("DOWNLOAD_FAILED", sentence)
    assert len(store.asked) == 1
    assert "127.0.0.1" not in str(job)


async def test_an_empty_object_is_said(client: aiohttp.ClientSession, store: Storage) -> None:
    """As an empty upload is."""
    store.put("calls/talk.wav", b"")
    job = await ended(client, {"inputs": [recording("calls/talk.wav")]})
    assert job["error"]["code"] == "EMPTY_FILE"


@pytest.mark.parametrize(
    "name",
    ["calls.wav", "calls-of-others/x.wav", "x.wav", "public", "public-x.wav", "public.secret/x.wav", "Calls/x.wav"],
)
async def test_only_what_is_below_an_open_folder_is_read(
    client: aiohttp.ClientSession, store: Storage, name: str
) -> None:
    """calls/ and public/ are open, and nothing that only begins like them."""
    store.put(name, SOUND)
    status, answer = await sent(client, {"inputs": [recording(name)]})
    assert (status, answer["error"]["code"], answer["error"]["param"]) == (403, "FORBIDDEN", "inputs.0.s3")
    assert store.asked == []


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"store": "nothing"}, 403),
        ({"bucket": "results"}, 403),
        ({"store": "../archive"}, 400),
        ({"store": ""}, 400),
        ({"bucket": "a/b"}, 400),
        ({"bucket": "recordings?"}, 400),
        ({"key": "calls/../secret"}, 400),
        ({"key": "calls/./x"}, 400),
        ({"key": "calls//x"}, 400),
        ({"key": "/calls/x"}, 400),
        ({"key": "calls/x/"}, 400),
        ({"key": "calls/\0"}, 400),
        ({"key": "calls/a\nb"}, 400),
        ({"key": "calls/" + "x" * 1024}, 400),
        ({"key": ""}, 400),
        ({"endpoint": "http://169.254.169.254"}, 400),
        ({"key": "calls/%2e%2e/secret"}, 201),
    ],
)
async def test_what_is_no_place_is_refused(
    client: aiohttp.ClientSession, server: Running, store: Storage, changes: dict[str, str], status: int
) -> None:
    """Before anything is asked of the store. What a path would take for an escape is a name like any other."""
    found, answer = await sent(client, {"inputs": [recording(**{"name": "calls/x", **changes})]})
    assert found == status, answer
    if status == 201:
        job = await finished(client, answer["workerJobId"])
        assert job["error"]["code"] == "DOWNLOAD_FAILED"
        assert [one.path for one in store.asked] == ["/recordings/calls/%252e%252e/secret"]
    else:
        assert answer["error"]["param"].startswith("inputs.0")
        assert (store.asked, server.files()) == ([], [])


async def test_a_store_is_for_the_keys_that_the_operator_names(
    client: aiohttp.ClientSession, server: Running, store: Storage
) -> None:
    """Ann's may use it; Bob's learns neither that it is there nor what is in it."""
    store.put("calls/talk.wav", SOUND)
    body = {"inputs": [recording("calls/talk.wav")], "outputsTo": TEXTS}
    status, job = await sent(client, body, await key(server, "ann"))
    assert (status, job["owner"]) == (201, "ann")
    bob = await key(server, "bob")
    answers = [
        await sent(client, body, bob),
        await sent(client, {"inputs": [recording(store="nothing")]}, bob),
        await upload(client, file(b"speech"), field("outputsTo", "s3://archive/results/texts"), **bob),
    ]
    assert [status for status, _ in answers] == [403, 403, 403]
    ends = {answer["error"]["message"].partition(": ")[2] for _, answer in answers}
    assert ends == {"no store of this name is open to you here"}


@pytest.mark.parametrize("inputs", [{}, {"url": "https://a.example/b", **recording()}])
async def test_an_input_lies_in_one_place(client: aiohttp.ClientSession, store: Storage, inputs: object) -> None:
    """Neither nowhere nor twice."""
    status, answer = await sent(client, {"inputs": [inputs]})
    assert (status, answer["error"]["param"]) == (400, "inputs.0")
    assert store.asked == []


# outputs


async def test_outputs_are_put_into_a_folder(client: aiohttp.ClientSession, store: Storage) -> None:
    """All of them, as they are, before the job is complete; they stay at the worker as well."""
    store.put("calls/talk.wav", SOUND)
    job = await ended(
        client, {"inputs": [recording("calls/talk.wav"), recording("calls/talk.wav")], "outputsTo": TEXTS}
    )
    names = [output["filename"] for output in job["outputs"]]
    assert (job["status"], names) == ("complete", ["talk_transcript.json", "talk-2_transcript.json"])
    assert sorted(store.keys()) == sorted(f"texts/2026/{name}" for name in names)
    for output in job["outputs"]:
        assert hashlib.sha256(store.get(f"texts/2026/{output['filename']}")).hexdigest() == output["sha256"]
    head = store.client.head_object(Bucket="results", Key=f"texts/2026/{names[0]}")
    assert head["ContentType"].startswith("application/json")
    delivery = job["delivery"]
    assert (delivery["state"], delivery["outputsAccepted"], delivery["callbackHost"]) == ("delivered", 2, None)
    assert delivery["outputsTo"] == "s3://archive/results/texts/2026/"


@pytest.mark.parametrize("submit", [as_one_object, of_uploads, by_tus_alone])
async def test_uploads_ask_for_it_as_well(client: aiohttp.ClientSession, store: Storage, submit: Submit) -> None:
    """On every route that takes options."""
    status, job = await submit(client, {"outputsTo": TEXTS})
    assert status == 201, job
    assert (await finished(client, job["workerJobId"]))["delivery"]["state"] == "delivered"
    assert len(store.keys()) == 1


async def test_a_store_that_is_unwell_gets_them_later(client: aiohttp.ClientSession, store: Storage) -> None:
    """Also one that refuses the credentials: its operator may mend that."""
    store.trouble = Trouble(status=403, times=1)
    status, job = await upload(client, file(b"speech"), field("outputsTo", "s3://archive/results/texts"))
    assert status == 201, job
    job = await finished(client, job["workerJobId"])
    assert (job["status"], job["delivery"]["attempts"]) == ("complete", 2)
    assert store.keys() == ["texts/talk_transcript.json"]


async def test_a_bucket_that_is_not_there_is_said(client: aiohttp.ClientSession, store: Storage) -> None:
    """At both ends; where the outputs cannot go into one, they can be fetched from the worker."""
    job = await ended(client, {"inputs": [recording("x.wav", bucket="nowhere")]})
    assert (job["error"]["code"], job["error"]["message"]) == (
        "DOWNLOAD_FAILED",
        "the store archive has no bucket nowhere",
    )
    _, job = await upload(client, file(b"speech"), field("outputsTo", "s3://archive/nowhere"))
    job = await finished(client, job["workerJobId"])
    assert (job["status"], job["error"]["code"]) == ("failed", "DELIVERY_FAILED")
    assert job["error"]["message"].endswith("the store archive has no bucket nowhere")
    assert (job["delivery"]["state"], job["delivery"]["attempts"]) == ("failed", 1)
    async with client.get(job["outputs"][0]["url"]) as response:
        assert (response.status, "transcript of" in await response.text()) == (200, True)


async def test_a_job_that_fails_puts_nothing(client: aiohttp.ClientSession, store: Storage) -> None:
    """There is nothing to put, and nothing goes on."""
    _, job = await upload(client, file(b"x"), field("prompt", "fail"), field("outputsTo", "s3://archive/results/texts"))
    job = await finished(client, job["workerJobId"])
    assert (job["status"], job["delivery"]["state"]) == ("failed", "failed")
    assert store.asked == []


async def test_a_delivery_can_be_canceled(client: aiohttp.ClientSession, store: Storage) -> None:
    """While the store is away."""
    store.trouble = Trouble(status=503)
    _, job = await upload(client, file(b"speech"), field("outputsTo", "s3://archive/results/texts"))
    await eventually(lambda: len(store.asked) > 1)
    async with client.post(f"/v1/jobs/{job['workerJobId']}/cancel") as response:
        assert response.status == 200
    assert (await finished(client, job["workerJobId"]))["status"] == "canceled"


@pytest.mark.parametrize(
    ("target", "status", "param"),
    [
        ("s3://archive/results/other", 403, "outputsTo"),
        ("s3://archive/results/texts-of-others", 403, "outputsTo"),
        ("s3://archive/results", 403, "outputsTo"),
        ("s3://archive/recordings/calls", 403, "outputsTo"),
        ("s3://archive/results/texts/../other", 400, "outputsTo.prefix"),
        ("s3://archive/results//texts", 400, "outputsTo.prefix"),
        ("s3://archive/results/texts/" + "x" * 512, 400, "outputsTo.prefix"),
        ("s3://archive", 400, "outputsTo.bucket"),
        ("https://example.org/texts", 400, "outputsTo"),
        ("{}", 400, "outputsTo.s3"),
        ("[1]", 400, "outputsTo"),
    ],
)
async def test_only_an_open_folder_takes_outputs(
    client: aiohttp.ClientSession, store: Storage, target: str, status: int, param: str
) -> None:
    """What else is named is refused before a byte is kept."""
    found, answer = await upload(client, file(b"speech"), field("outputsTo", target))
    assert (found, answer["error"]["param"]) == (status, param), answer
    assert store.asked == []


async def test_a_large_output_is_put_in_parts(store: Storage, tmp_path: Path) -> None:
    """Each part signed with its own hash; where one is refused, nothing is there."""
    path = tmp_path / "large.json"
    path.write_bytes(Random(8).randbytes(2 * PART_BYTES + 12_345))
    buckets = Buckets(load_stores(store.stores_file(tmp_path)), user_agent="test", idle_s=5.0)
    await buckets.put(path, S3Prefix("archive", "results", "texts"), "large.json", "application/json")
    assert store.get("texts/large.json") == path.read_bytes()
    sizes = [one.size_bytes for one in store.asked if "partNumber" in one.path]
    assert sorted(sizes) == [12_345, PART_BYTES, PART_BYTES]
    store.client.delete_object(Bucket="results", Key="texts/large.json")
    store.trouble = Trouble(at=lambda asked: "partNumber=2" in asked.path, status=500)
    with pytest.raises(Exception, match="the store archive answered 500"):
        await buckets.put(path, S3Prefix("archive", "results", "texts"), "large.json", "application/json")
    assert store.keys() == []


async def test_a_wrong_secret_is_noticed(all_storage: Storage, tmp_path: Path) -> None:
    """By the proxy, which works the signature out from the request's own words: what the other tests rely on."""
    all_storage.clear()
    stores = load_stores(all_storage.stores_file(tmp_path, secret_access_key="another"))
    await Buckets(stores, user_agent="test", idle_s=5.0).probe("archive", "recordings")
    assert [words.rpartition(": ")[2] for words in all_storage.wrong] == ["the signature is not that of the secret"]


async def test_the_secret_is_nowhere(client: aiohttp.ClientSession, server: Running, store: Storage) -> None:
    """Neither in an answer nor in the job table."""
    store.put("calls/talk.wav", SOUND)
    job = await ended(client, {"inputs": [recording("calls/talk.wav")], "outputsTo": TEXTS})
    table = b"".join(path.read_bytes() for path in server.settings.data_dir.glob("jobs.sqlite3*"))
    assert SECRET not in str(job)
    assert SECRET.encode() not in table
    assert SECRET not in repr(server.settings)
