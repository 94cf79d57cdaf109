"""S4: a client's file name is data. It never becomes a path, a header or another name's neighbour."""

import json
import random
import re
import unicodedata
from pathlib import Path
from urllib.parse import quote, unquote

import pytest

from tests.process.server_of import Server
from tests.security.wire import exchange, file_part, form, head, part, upload
from tests.slices import FULL

COUNT = 300 if FULL else 80
FILES_PER_JOB = 50
BY_HAND = [
    "../../../../etc/passwd", "..", ".", "/", "/etc/passwd", "//host/share/x.wav", "..\\..\\boot.ini",
    "C:\\talk.wav", "\\\\host\\share\\talk.wav", "...", ".hidden", ".bashrc", "-rf", "--help.wav", "-i",
    "~root/x.wav", "$(id).wav", "`id`.wav", "a;b.wav", "a|b.wav", "a&b.wav", "%00.wav", "%2e%2e%2fetc%2fpasswd",
    "..%2f..%2fx", "..%c0%af", "a%0d%0ab", "CON", "NUL.wav", "aux.mp3", "talk.wav:stream", "talk.wav.", "talk.wav ",
    " talk.wav", "talk\t.wav", "a\x1b[31mb.wav", "\u202egnp.wav", "\u2066a\u2069.wav", "\ufeff.wav", "\u200b.wav",
    "e\u0301.wav", "\u00e9.wav", "\uff0e\uff0e\uff0fetc", "\u2215etc\u2215passwd", "\U0001f3a7.wav", "\u0000.wav",
    "\x7f.wav", "\u0085.wav", "\u2028x.wav", "a" * 255 + ".wav", "\U0001f3a7" * 120, "a" * 4000, "0", "0.part",
    "windows", "out", "out.part", "jobs.db", "jobs.db-wal", "state.json", "_transcript.json",
    "talk_transcript.json", "talk-2.wav", "talk.wav", "TALK.WAV", "talk.WAV", "<script>.wav", "'; DROP.wav",
    "concat:a|b", "file:///etc/passwd", "http://127.0.0.1/x.wav", "pipe:0", "data:audio/wav;base64,AA",
    "image%03d.png", "a; filename*=UTF-8''evil.wav", "a=b", "name*0=x", "*", "?", "a/b/c/../d.wav", "NaN", "null",
    "{}", "[]", "{0}", "%s%n",
]  # fmt: skip


def hostile_names(count: int) -> list[str]:
    """The ones above, and seeded ones of their pieces and of any character that UTF-8 has."""
    rng = random.Random(4)
    pieces = [
        "../",
        "..\\",
        "/",
        "\\",
        ".",
        "..",
        "\x00",
        "\t",
        "\x1b",
        "\u202e",
        "%2f",
        "%00",
        "'",
        ";",
        "=",
        " ",
        "a",
        "\u00df",
    ]
    names = list(BY_HAND)
    while len(names) < count:
        odd = [
            chr(rng.choice([rng.randrange(1, 0xD800), rng.randrange(0xE000, 0x110000)]))
            for _ in range(rng.randrange(6))
        ]
        names.append("".join(rng.choices([*pieces, *odd], k=rng.randrange(1, 12))))
    return [re.sub('["\r\n]', "", name) or "x" for name in names][:count]


def disposition_names(header: str) -> tuple[str, str]:
    """The plain and the extended name of an attachment; fails on anything that RFC 6266 does not allow."""
    match = re.fullmatch(
        r"attachment; filename=\"([\x20-\x7e]*)\"; filename\*=UTF-8''([A-Za-z0-9!#$&+.^_`|~%-]*)", header
    )
    assert match is not None, header
    assert not set(match[1]) & set('"\\%;'), header
    return match[1], unquote(match[2], errors="strict")


def assert_harmless(name: str) -> None:
    """One component, nothing that cannot be shown, nothing hidden, short enough for any file system."""
    assert "/" not in name
    assert "\\" not in name
    assert not name.startswith(".")
    assert len(name.encode()) <= 255
    assert all(unicodedata.category(c)[0] not in "CZ" or c == " " for c in name), repr(name)


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.timeout(300)
def test_hostile_names_are_only_names(app: Server, port: int, jobs_folder: Path) -> None:
    """300 of them (80 reduced) from the upload to the download of each result."""
    data, beside = jobs_folder.parent, tree(app.log.parent) - tree(jobs_folder)
    before = {path for path in tree(app.log.parent) if not path.startswith("data/jobs/")}
    names = hostile_names(COUNT)
    for start in range(0, len(names), FILES_PER_JOB):
        batch = names[start : start + FILES_PER_JOB]
        answer = upload(port, form(*[file_part(b"speech", name) for name in batch]))
        assert answer.statuses == [201], answer.raw[:500]
        job = app.ended(json.loads(answer.body)["workerJobId"])
        assert job["status"] == "complete", job["error"]
        assert len(job["outputs"]) == len({item["filename"].casefold() for item in job["outputs"]}) == len(batch)
        for item in job["inputs"]:
            assert item["filename"]
            assert "/" not in item["filename"]
        for item in job["outputs"]:
            _look_at(port, item)
        listed = {item["filename"] for item in job["outputs"]}
        folder = jobs_folder / job["workerJobId"]
        assert {path.name for path in (folder / "out").iterdir() if not path.name.startswith(".transcript.")} == listed
        assert {path.name for path in folder.iterdir()} <= {"out", "windows", "in", "inputs", "0"}
    after = {path for path in tree(app.log.parent) if not path.startswith("data/jobs/")}
    assert after - before <= {"data/audit", "data/audit/audit.jsonl"}
    assert before <= after
    assert beside
    assert data.is_dir()


def _look_at(port: int, item: dict[str, str]) -> None:
    """One output under its own address, with a header that gives back its very name."""
    assert_harmless(item["filename"])
    answer = exchange(port, [head("GET", item["url"], "Connection: close")])
    assert answer.statuses == [200], (item, answer.raw[:300])
    lines = [line for line in answer.head.split("\r\n") if line.lower().startswith("content-disposition:")]
    assert len(lines) == 1, answer.head
    plain, extended = disposition_names(lines[0].partition(": ")[2])
    assert extended == item["filename"]
    assert len(plain) == len(item["filename"])


ODD_HEADERS = [
    "form-data; name=\"f\"; filename*=idna''x%41",
    "form-data; name=\"f\"; filename*=undefined''x",
    "form-data; name=\"f\"; filename*=punycode''x%ff",
    "form-data; name=\"f\"; filename*=unicode-escape''%5cud800%5cx2fetc",
    "form-data; name=\"f\"; filename*=utf-7''+AC8-etc",
    "form-data; name=\"f\"; filename*=utf-16''%d8%00",
    "form-data; name=\"f\"; filename*=rot13''x",
    "form-data; name=\"f\"; filename*=UTF-8''%2fetc%2fpasswd%00",
    "form-data; name=\"f\"; filename*=UTF-8''%ff%fe%ed%a0%80",
    "form-data; name=\"f\"; filename*=UTF-8''%0d%0aX-Injected:%20yes",
    "form-data; name=\"f\"; filename*=ISO-8859-1''%e9.wav",
    'form-data; name="f"; filename="%0D%0AX-Injected: yes"',
    'form-data; name="f"; filename="a\\"; b.wav"',
    'form-data; name="f"; filename=""',
    "form-data; name=f; filename=plain.wav",
    'form-data; name="f"; filename="one.wav"; filename="two.wav"',
]


@pytest.mark.parametrize("disposition", ODD_HEADERS)
def test_odd_spellings_of_a_name_are_names_too(app: Server, port: int, disposition: str) -> None:
    """No codec but UTF-8 and Latin-1 is ever asked, nothing breaks the answer's headers, and no 500."""
    answer = upload(port, form(part(b"speech", f"Content-Disposition: {disposition}")))
    assert answer.statuses in ([201], [400]), answer.raw[:500]
    assert "x-injected" not in answer.head.lower()
    if answer.status == 201:
        job = app.ended(json.loads(answer.body)["workerJobId"])
        assert job["status"] == "complete"
        for item in job["inputs"]:
            assert all(c.isprintable() for c in item["filename"])
            assert "/" not in item["filename"]
        for item in job["outputs"]:
            _look_at(port, item)


def test_a_names_url_is_quoted(app: Server, port: int) -> None:
    """Nothing in it can begin a query, a fragment or another path."""
    answer = upload(port, form(file_part(b"speech", "a?b#c&d=e f.wav")))
    job = app.ended(json.loads(answer.body)["workerJobId"])
    for item in job["outputs"]:
        assert item["url"] == f"/v1/jobs/{job['workerJobId']}/outputs/{quote(item['filename'], safe='')}"
