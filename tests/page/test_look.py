"""How the page looks in each of its states, and whether everybody can use it there.

Of each state axe-core finds nothing, in light and dark. With BTWORKER_SCREENSHOTS=1 the pictures of docs/page.md are
made as well.
"""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from btworker.ffmpeg import find_ffmpeg
from tests.page.stored import SHORT, long_talk, meeting
from tests.page.user import SAMPLE, WITHIN_MS, User
from tests.process.server_of import ROOT, Server
from tests.waiting import until

pytestmark = pytest.mark.timeout(300)
PICTURES = ROOT / "docs" / "images" / "page"
KEEPS_PICTURES = os.environ.get("BTWORKER_SCREENSHOTS") == "1"
COLOURS = 256
"""In a picture for the documentation."""
DARK: Any = {"color_scheme": "dark"}
NARROW: Any = {"viewport": {"width": 360, "height": 740}, "has_touch": True}


@pytest.fixture(scope="session")
def axe() -> str:
    """axe-core's source."""
    spec = find_spec("axe_playwright_python")
    assert spec is not None and spec.origin is not None
    return (Path(spec.origin).parent / "axe.min.js").read_text()


@pytest.fixture(scope="session")
def board(worker: Server) -> str:
    """A meeting of four, with doubtful places."""
    return meeting(worker)


def look(user: User, axe: str, name: str) -> None:
    """Hold a state to axe-core, and keep its picture. Not while something fades in, which has no contrast yet."""
    user.page.evaluate(axe)
    fading = "document.getAnimations().some((one) => one instanceof CSSTransition)"
    until(lambda: not user.page.evaluate(fading), "nothing fades in", within_s=30)
    found = user.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    assert [
        (one["id"], one["help"], [node["html"] for node in one["nodes"]][:3]) for one in found["violations"]
    ] == [], name
    if KEEPS_PICTURES and (not name.endswith("-dark") or name == "done-dark"):
        PICTURES.mkdir(parents=True, exist_ok=True)
        picture = Image.open(BytesIO(user.page.screenshot())).convert("RGB")
        picture.quantize(COLOURS, dither=Image.Dither.NONE).save(PICTURES / f"{name}.png", optimize=True)


@pytest.mark.parametrize(("scheme", "options"), [("light", {}), ("dark", DARK)])
def test_a_transcript_with_four_speakers(
    worker: Server, browser: Browser, board: str, axe: str, scheme: str, options: dict[str, Any]
) -> None:
    """Speakers, doubtful places, the gap, the player; then the export, the keys, and a text that is being edited."""
    with User.at(worker, browser, **options) as user:
        user.enter()
        user.page.goto(f"{worker.url}/#{board}")
        user.finished()
        expect(user.page.get_by_role("heading", name="To look at (3)")).to_be_visible()
        expect(user.page.locator(".speakers li")).to_have_count(4)
        expect(user.page.get_by_text("Speech without text from ")).to_be_visible()
        user.press_word("budget")
        until(user.spoken, "a word is marked", within_s=30)
        user.page.keyboard.press("k")
        look(user, axe, f"done-{scheme}")
        user.page.keyboard.press("n")
        expect(user.page.locator("[data-number='6'].active")).to_be_visible()
        user.page.keyboard.press("k")
        look(user, axe, f"doubtful-{scheme}")
        user.page.keyboard.press("Enter")
        look(user, axe, f"editing-{scheme}")
        user.page.keyboard.press("Escape")
        for key, name in (("e", "export"), ("?", "keys")):
            user.page.keyboard.press(key)
            look(user, axe, f"{name}-{scheme}")
            user.page.keyboard.press("Escape")


@pytest.mark.parametrize(("scheme", "options"), [("light", {}), ("dark", DARK)])
def test_the_token_is_asked_for(
    worker: Server, browser: Browser, axe: str, scheme: str, options: dict[str, Any]
) -> None:
    """And what a wrong one looks like."""
    with User.at(worker, browser, **options) as user:
        user.enter("wrong")
        expect(user.page.get_by_role("alert")).not_to_be_empty()
        look(user, axe, f"token-{scheme}")


def test_nothing_yet_and_no_answer(worker: Server, browser: Browser, axe: str) -> None:
    """An empty worker, and one that does not answer any more."""
    with User.at(worker, browser) as user:
        user.page.route("**/v1/jobs?*", lambda route: route.fulfill(json={"jobs": [], "nextCursor": None}))
        user.enter()
        expect(user.page.get_by_text("Nothing yet.")).to_be_visible()
        expect(user.page.get_by_role("meter", name=re.compile("Disk: .* free"))).to_be_visible()
        look(user, axe, "empty")
        user.page.context.set_offline(True)
        expect(user.page.get_by_role("alert")).to_contain_text("does not answer", timeout=WITHIN_MS)
        look(user, axe, "offline")


def test_a_box_of_gpus_at_work(user: User, axe: str) -> None:
    """Their mean use, one that does not answer, jobs that wait, and a disk that is nearly full."""
    shown, page = user.page.locator(".gauge"), user.page
    gpu = {"up": True, "utilization": 0.9}
    busy = {
        "gpus": [gpu, {**gpu, "utilization": 0.4}, {**gpu, "utilization": None}, {"up": False, "utilization": None}],
        "gpuName": "NVIDIA H200",
        "activeJobs": 3,
        "maxConcurrentJobs": 4,
        "waitingJobs": 17,
        "diskFreeBytes": 40 * 10**9,
        "diskSizeBytes": 2 * 10**12,
    }
    page.route("**/v1/ping", lambda route: route.fulfill(json={**route.fetch().json(), **busy}))
    expect(shown).to_have_text(
        ["4 GPUs65 % busy, 1 lost", "Jobs3 of 4 at work, 17 waiting", "Disk40 GB free"], timeout=WITHIN_MS
    )
    shares = [page.get_by_role("meter").nth(number).evaluate("(meter) => meter.value") for number in range(3)]
    assert shares == [0.65, 0.75, 0.98]
    look(user, axe, "gpus")


def test_a_recording_on_its_way(user: User, axe: str) -> None:
    """Sent in part, and stopped."""
    page = user.page
    page.route("**/v1/uploads", lambda route: None)
    user.drop("sent-slowly.flac", speakers="no")
    expect(page.get_by_text("Sending 0 %")).to_be_visible()
    look(user, axe, "sending")
    page.get_by_role("button", name="Stop sending sent-slowly.flac").click()
    page.unroute("**/v1/uploads")


@pytest.mark.parametrize(("scheme", "options"), [("light", {}), ("dark", DARK)])
def test_one_that_failed(
    worker: Server, browser: Browser, axe: str, tmp_path: Path, scheme: str, options: dict[str, Any]
) -> None:
    """With its reason, and a way to try again: with the file that this tab has, and without it."""
    (tmp_path / "no-sound.wav").write_bytes(b"RIFF" + bytes(3000))
    with User.at(worker, browser, **options) as user:
        user.enter()
        user.drop("no-sound.wav", tmp_path / "no-sound.wav")
        expect(user.page.get_by_role("button", name="Try again")).to_be_visible()
        look(user, axe, f"failed-{scheme}")
        user.page.reload()
        expect(user.page.get_by_role("button", name="Choose the file", exact=True)).to_be_visible()
        look(user, axe, f"choose-again-{scheme}")


def test_a_recording_at_work_that_is_canceled(user: User, axe: str, tmp_path: Path) -> None:
    """Its text comes while it is transcribed; the page asks before it stops that, and stops it."""
    page = user.page
    talk = tmp_path / "town-hall.wav"
    command = [str(find_ffmpeg()), "-v", "error", "-stream_loop", "4", "-i", str(SAMPLE), "-ac", "1", str(talk)]
    subprocess.run(command, check=True)
    page.locator("input[type=file]").set_input_files(talk)
    expect(page.locator(".row").first).to_be_visible(timeout=3 * WITHIN_MS)
    with standing_still(user.worker):
        page.evaluate("document.activeElement.blur()")
        expect(page.get_by_role("main").get_by_role("progressbar").first).to_be_visible()
        look(user, axe, "running")
    answers = ["dismiss", "accept"]
    page.on("dialog", lambda dialog: getattr(dialog, answers.pop(0))())
    for _ in range(2):
        page.get_by_role("button", name="Cancel town-hall.wav").click()
    expect(page.get_by_role("heading", name="This job was canceled")).to_be_visible()
    assert answers == []


@contextmanager
def standing_still(worker: Server) -> Iterator[None]:
    """Nothing goes on in the worker's children meanwhile."""
    children = worker.children()
    for child in children:
        os.kill(child, signal.SIGSTOP)
    yield
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGCONT)


def test_paper_has_all_of_a_transcript(user: User, worker: Server) -> None:
    """A PDF has every row, also of those that are not near the window, and nothing but the transcript."""
    user.page.goto(f"{worker.url}/#{long_talk(worker, 3600, 'minutes.m4a', SHORT)}")
    user.finished()
    assert user.page.locator(".row").count() < 100
    pdf = user.page.pdf(format="A4")
    assert 9 <= len(re.findall(rb"/Type /Page\b", pdf)) <= 30
    user.page.emulate_media(media="print")
    for hidden in (".top", ".left", ".player", ".side", ".find"):
        expect(user.page.locator(hidden)).to_be_hidden()
    user.page.emulate_media(media="screen")
    user.page.keyboard.press("e")
    user.page.evaluate("window.print = () => (window.printed = true)")
    user.page.get_by_role("button", name="PDF").click()
    until(lambda: user.page.evaluate("window.printed"), "it is printed", within_s=30)
    expect(user.page.get_by_role("dialog")).to_have_count(0)


def test_on_a_phone(worker: Server, browser: Browser, board: str, axe: str) -> None:
    """360 pixels: the list, a transcript, the panel; nothing is wider than the window. With 820 a name has room."""
    with User.at(worker, browser, **NARROW) as user:
        user.enter()
        expect(user.page.get_by_role("heading", name="Recordings")).to_be_visible()
        look(user, axe, "narrow-list")
        user.page.goto(f"{worker.url}/#{board}")
        user.finished()
        look(user, axe, "narrow")
        user.page.get_by_role("button", name="Speakers, 3 to look at").click()
        look(user, axe, "narrow-panel")
        assert user.page.evaluate("document.documentElement.scrollWidth") == 360
        user.page.set_viewport_size({"width": 820, "height": 1180})
        box = user.page.get_by_role("heading", name="board-meeting.m4a").bounding_box()
        assert box is not None and box["width"] > 200 and box["height"] < 40


def test_eight_hours_scroll_with_a_few_hundred_rows(user: User, worker: Server) -> None:
    """80,000 words: never more than 500 rows in the document, the end is one jump away, and every row has its place."""
    job_id = long_talk(worker, size_bytes=SHORT)
    user.page.goto(f"{worker.url}/#{job_id}")
    user.finished()
    rows, list_ = user.page.locator(".row"), user.page.locator("section.transcript")
    for place in (0.0, 0.33, 0.71, 1.0):
        list_.evaluate(f"(list) => (list.scrollTop = list.scrollHeight * {place})")
        expect(rows.first).to_be_attached()
        assert rows.count() <= 500
        until(lambda: rows.evaluate_all(_IN_VIEW) > 5, "the window is full of rows", within_s=30)
    expect(user.page.locator("[data-number='6665']")).to_be_attached()
    user.page.keyboard.press("ArrowUp")
    expect(user.page.locator("[data-number='6665'].active")).to_be_in_viewport()


_IN_VIEW = """(rows) => {
  const box = document.querySelector("section.transcript").getBoundingClientRect();
  const inside = ({ top, bottom }) => bottom > box.top && top < box.bottom;
  return rows.filter((row) => inside(row.getBoundingClientRect())).length;
}"""
