"""What comes between: a key that ends, a worker that dies and comes back, a reload in the middle of an upload. The page
goes on where it was, and nothing that somebody typed or sent is lost."""

import hashlib
import random
import signal
import struct
import time
import urllib.error
import urllib.request
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Route, expect

from btworker import control
from btworker.job_folder import JobFolder
from tests.demo_worker import DEMO_WORKER
from tests.page.stored import finished_job, restored
from tests.page.user import User
from tests.process.keys_of import keys
from tests.process.server_of import Server, serving
from tests.slices import FULL
from tests.waiting import until

pytestmark = pytest.mark.timeout(900 if FULL else 300)
MIB = 2**20
BRIEF_S = 3
"""Seconds until a key or a ticket ends by itself."""
LONG_SOUND_S = 1200
"""Too long for a browser to have all of it at once: 19 MB of 8 kHz."""


def die(worker: Server) -> None:
    """The worker and its children are killed."""
    children = worker.children()
    worker.stop(signal.SIGKILL)
    for child in children:
        until(lambda child=child: not Path(f"/proc/{child}").exists(), "its children end with it", within_s=60)


def long_sound(worker: Server) -> str:
    """A finished job whose sound is exchanged for twenty minutes of silence; its id."""
    job_id = finished_job(worker, "long.flac")
    with wave.open(str(JobFolder(worker.folder / "data" / "jobs" / job_id).rendition(0).audio), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(2 * 8000 * LONG_SOUND_S))
    return job_id


def test_a_key_ends_while_somebody_types(stranger: User, worker: Server, talk: str) -> None:
    """The page says why and asks for another one; what was typed is there afterwards, and one button keeps it."""
    page = stranger.page
    token = keys(worker.folder, "add", "ending", "--scopes", "admin").stdout.strip()
    stranger.enter(token)
    stranger.open("interview.flac")
    stranger.type_text(0, "Typed with the old key.")
    keys(worker.folder, "revoke", "ending")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("revoked")
    stranger.enter()
    stranger.finished()
    expect(page.locator(".notice")).to_contain_text("“Typed with the old key.”")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("[data-number='0'] .text")).to_have_text("Typed with the old key.")
    restored(worker, talk)


def brief_key(worker: Server) -> str:
    """The token of a key that ends by itself in a moment; the command's own periods are hours at least."""
    shares = {"weight": None, "limits": {}}
    wanted = {"do": "add", "name": "brief", "scopes": ["admin"], "expiresAt": time.time() + BRIEF_S, **shares}
    return str(control.ask(worker.folder / "data", "keys", wanted, timeout_s=60)["token"])


def test_a_key_ends_by_its_time(user: User, worker: Server, talk: str) -> None:
    """While somebody is in the middle of a recording, types, and sends another one: the page says that the key has
    expired; with the next one it is where it was, the upload has gone on by itself, and a button keeps the text."""
    page, held = user.page, list[Route]()
    user.open("interview.flac")
    user.press_word("bridge")
    until(user.spoken, "its word is marked", within_s=30)
    page.keyboard.press("k")
    place, number = user.sound("currentTime"), int(str(page.locator(".row.active").get_attribute("data-number")))
    page.route("**/v1/uploads", lambda route: (held.append(route), None)[1])
    user.drop("on-its-way.flac", speakers="no")
    user.type_text(number, "Typed with the brief key.")
    token = brief_key(worker)
    page.evaluate("(token) => import('./page/state.js').then(({ keepToken }) => keepToken(token))", token)
    held[0].abort()
    expect(page.get_by_role("alert")).to_contain_text("expired")
    until(lambda: (page.wait_for_timeout(50), len(held) == 2)[1], "it is sent again, with that key", within_s=60)
    held[1].continue_()
    page.unroute("**/v1/uploads")
    user.enter()
    user.finished()
    expect(page.locator(".row.active")).to_have_attribute("data-number", str(number))
    until(lambda: user.sound("currentTime") == place, "the sound is where it was", within_s=60)
    expect(page.get_by_role("navigation").get_by_role("link", name="on-its-way.flac")).to_be_visible()
    expect(page.locator(".notice")).to_contain_text("“Typed with the brief key.”")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator(f"[data-number='{number}'] .text")).to_have_text("Typed with the brief key.")
    restored(worker, talk)


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A worker whose tickets end after a moment."""
    brief = {"WORKER_TICKET_MINUTES": str(BRIEF_S / 60)}
    with serving(tmp_path_factory.mktemp("hasty"), **DEMO_WORKER, **brief) as server:
        yield server


def test_a_ticket_ends_by_its_time(hasty: Server, browser: Browser) -> None:
    """Sound and waveform get another one where they are, as often as that happens, and go on without a word."""
    with User.at(hasty, browser, f"#{long_sound(hasty)}") as listener:
        listener.enter()
        listener.finished()
        for place in (LONG_SOUND_S - 100, LONG_SOUND_S / 2):
            ticket = listener.sound("src")
            until(lambda ticket=ticket: is_over(ticket), "the ticket ends", within_s=60)
            _plays_at(listener, place)
            assert listener.sound("src") != ticket
        until(lambda: is_over(listener.sound("src")), "the last one ends as well", within_s=60)
        with listener.page.expect_response(lambda answer: "/peaks" in answer.url and answer.status == 206):
            listener.page.get_by_role("button", name="Zoom in").click()
        expect(listener.page.locator(".notice")).to_have_count(0)


def is_over(address: str) -> bool:
    """Whether an address with a ticket plays nothing any more."""
    request = urllib.request.Request(address, headers={"Range": "bytes=0-0"})
    try:
        with urllib.request.urlopen(request, timeout=30):
            return False
    except urllib.error.HTTPError as error:
        return error.code == 401


def test_the_worker_dies_and_comes_back(worker: Server, browser: Browser) -> None:
    """One tab watches a job, another one plays and corrects: text, sound and change are all there afterwards. The
    ticket of the sound ended with the worker's run."""
    sound = long_sound(worker)
    with User.at(worker, browser, f"#{sound}") as listener, User.at(worker, browser) as watcher:
        listener.enter()
        watcher.enter()
        listener.finished()
        watcher.drop("under-way.flac", speakers="no")
        expect(watcher.page.locator(".row").first).to_be_visible()
        listener.page.get_by_role("button", name="Play", exact=True).click()
        until(lambda: listener.sound("currentTime") > 0.2, "it plays", within_s=30)
        ticket = listener.sound("src")
        die(worker)
        for one in (listener, watcher):
            expect(one.page.locator(".offline")).to_be_visible()
        listener.type_text(0, "Typed meanwhile.")
        listener.page.keyboard.press("Enter")
        expect(listener.page.locator(".notice")).to_contain_text("Not kept")
        worker.start()
        for one in (listener, watcher):
            expect(one.page.locator(".offline")).to_have_count(0)
        listener.page.get_by_role("button", name="Try again").click()
        expect(listener.page.locator("[data-number='0'] .text")).to_have_text("Typed meanwhile.")
        _plays_at(listener, LONG_SOUND_S - 100)
        assert listener.sound("src") != ticket
        watcher.finished()
        expect(watcher.page.locator("[data-number='0'] .text")).to_have_text("Hello happy teacher.")
        numbers = watcher.page.locator(".row").evaluate_all("(rows) => rows.map((row) => row.dataset.number)")
        assert len(numbers) == len(set(numbers)) > 5


def _plays_at(listener: User, seconds: float) -> None:
    """A click near the end of the waveform asks for a part of the sound that is not here yet."""
    playing = "import('./page/playback.js').then(({ playFrom }) => playFrom(%s))"
    listener.page.evaluate(playing % seconds)
    until(lambda: listener.sound("currentTime") > seconds + 0.2, "it plays on, far away", within_s=60)
    assert listener.sound("error") is None
    assert not listener.sound("paused")


def recording(path: Path, size_bytes: int) -> str:
    """Write noise that is short for its size, 8 channels of 32 bits and 192 kHz; its SHA-256. RF64 above 4 GiB."""
    rng, rate, frame_bytes = random.Random(7), 192_000, 32
    block = rng.randbytes(MIB)
    data_bytes = size_bytes // frame_bytes * frame_bytes
    shape = struct.pack("<HHIIHH", 1, 8, rate, rate * frame_bytes, frame_bytes, 32)
    sizes = struct.pack("<QQQI", data_bytes + 72, data_bytes, data_bytes // frame_bytes, 0)
    head = b"RF64\xff\xff\xff\xffWAVEds64" + struct.pack("<I", 28) + sizes
    head += b"fmt " + struct.pack("<I", 16) + shape + b"data\xff\xff\xff\xff"
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for piece in (head, *(block[:-8] + struct.pack("<Q", at) for at in range(data_bytes // MIB))):
            file.write(piece)
            digest.update(piece)
    return digest.hexdigest()


def test_an_upload_goes_on_over_a_reload_and_a_restart(user: User, worker: Server, tmp_path: Path) -> None:
    """64 MiB, under BTWORKER_FULL=1 6 GiB: what arrives is what was chosen, and little of it was sent twice."""
    size_bytes = 6 * 1024 * MIB if FULL else 64 * MIB
    source = tmp_path / "long.wav"
    digest = recording(source, size_bytes)
    page, total = user.page, source.stat().st_size
    page.get_by_role("combobox", name="Speakers", exact=True).select_option("no")
    line = page.context.new_cdp_session(page)
    slow(line, total / 8)
    page.locator("input[type=file]").set_input_files(source)
    until(lambda: stored(worker) > total * 0.2, "a fifth is there", within_s=300)
    page.reload()
    kept = stored(worker)
    expect(page.get_by_text("Choose the same file again to go on")).to_be_visible()
    page.locator("input[type=file]").set_input_files(source)
    until(lambda: stored(worker) > total * 0.5, "half of it is there", within_s=300)
    assert kept > total * 0.2
    die(worker)
    worker.start()
    slow(line, -1)
    entry = page.get_by_role("navigation").get_by_role("link", name="long.wav")
    expect(entry).to_be_visible(timeout=300_000)
    jobs = worker.request("GET", "/v1/jobs?limit=5")[1]["jobs"]
    (job,) = [one for one in jobs if one["inputs"][0]["filename"] == "long.wav"]
    assert (job["inputs"][0]["sizeBytes"], job["inputs"][0]["sha256"]) == (total, digest)
    assert worker.ended(job["workerJobId"])["status"] == "complete"
    assert page.evaluate("Object.keys(localStorage).filter((key) => key.startsWith('tus')).length") == 0


def slow(line: Any, bytes_per_s: float) -> None:
    """Let the browser send so much a second; -1: as much as it can."""
    limits = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_per_s}
    line.send("Network.emulateNetworkConditions", limits)


def stored(worker: Server) -> int:
    """Bytes that the worker has of the upload that is not complete."""
    return sum(path.stat().st_size for path in (worker.folder / "data" / "uploads").glob("*/data"))
