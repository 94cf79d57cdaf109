"""What people do at the page, done in a browser: drop, watch, play, name, edit, take back, export."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.page.stored import restored
from tests.page.user import SAMPLE, WITHIN_MS, User
from tests.process.server_of import Server
from tests.waiting import until

pytestmark = pytest.mark.timeout(300)
HOSTILE = (
    "<img src=x onerror=window.hacked=1>",
    "</script><script>window.hacked=1</script>",
    '"><svg onload=window.hacked=1>',
    "${window.hacked=1} {{constructor.constructor('window.hacked=1')()}}",
    "javascript:window.hacked=1",
)


def corrections(worker: Server, job_id: str) -> dict[str, str]:
    """Names by label, as the API has them."""
    found = worker.request("GET", f"/v1/jobs/{job_id}/corrections")[1]["inputs"]
    return {one["speaker"]: one["name"] for item in found for one in item["speakers"]}


def test_a_wrong_token_is_refused_and_the_right_one_is_kept_in_the_tab(stranger: User) -> None:
    """A sentence says what to do; a reload asks no more; forgetting it asks again; nothing else stores it."""
    page = stranger.page
    stranger.enter("wrong")
    expect(page.get_by_role("alert")).to_contain_text("does not know that token")
    stranger.enter()
    expect(page.get_by_role("heading", name="Recordings")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="Recordings")).to_be_visible()
    assert page.context.cookies() == []
    assert page.evaluate("Object.values(localStorage)") == []
    page.get_by_role("button", name="Forget token").click()
    expect(page.get_by_label("Token")).to_be_visible()


def test_a_dropped_recording_becomes_text_and_sound(user: User) -> None:
    """It is sent, its text comes while it runs, and a click on a word plays that word: the sound is decoded."""
    page = user.page
    user.drop("dropped.flac", speakers="no")
    expect(page.locator(".row .text").first).to_have_text("Hello happy teacher.", timeout=WITHIN_MS)
    user.finished()
    user.press_word("bridge")
    began = page.evaluate("import('./page/state.js').then(({ position }) => position.value)")
    until(lambda: user.sound("currentTime") > began + 0.3, "the sound advances", within_s=30)
    assert user.sound("error") is None
    assert 9 < began < 14
    assert user.spoken()
    page.keyboard.press(" ")
    until(lambda: user.sound("paused"), "it is paused", within_s=30)
    canvas = page.get_by_role("slider", name="Place in the recording")
    until(lambda: len(set(page.evaluate(_PIXELS))) > 4, "the waveform is drawn", within_s=30)
    canvas.click(position={"x": 10, "y": 20})
    until(lambda: user.sound("currentTime") < 5, "a click on the waveform seeks", within_s=30)


_PIXELS = (
    "[...new Uint32Array(document.querySelector('canvas').getContext('2d').getImageData(0, 0, 900, 60).data.buffer)]"
)


def test_a_name_is_everywhere_and_is_kept(user: User, worker: Server, talk: str) -> None:
    """Typed over a label once, it is in every row, after a reload, and in the exports; undo takes it back."""
    page = user.page
    user.open("interview.flac")
    page.get_by_role("button", name="Rename SPEAKER_00").first.click()
    page.keyboard.type("Anna")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Rename Anna").first).to_be_visible()
    expect(page.get_by_role("button", name="Rename SPEAKER_00")).to_have_count(0)
    assert corrections(worker, talk)["SPEAKER_00"] == "Anna"
    assert "Anna" in user.export("SRT")
    page.reload()
    expect(page.get_by_role("button", name="Rename Anna").first).to_be_visible()
    restored(worker, talk)


def test_text_is_edited_in_place_and_taken_back(user: User, worker: Server, talk: str) -> None:
    """Enter keeps it, Escape does not; the export has it; Ctrl+Z brings the engine's text back."""
    page = user.page
    user.open("interview.flac")
    row = page.locator("[data-number='0']")
    row.hover()
    row.get_by_role("button", name="Edit the text at 0:00").click()
    page.keyboard.type(" Never mind.")
    page.keyboard.press("Escape")
    expect(row.locator(".text")).to_have_text("Hello happy teacher.")
    row.hover()
    row.get_by_role("button", name="Edit the text at 0:00").click()
    field = page.get_by_label("Text of this segment")
    field.fill("Hello, happy pupils.")
    field.press("Enter")
    expect(row.locator(".text")).to_have_text("Hello, happy pupils.")
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    assert "Hello, happy pupils." in user.export("TXT")
    page.keyboard.press("Control+z")
    expect(row.locator(".text")).to_have_text("Hello happy teacher.")
    assert "Hello happy teacher." in user.export("TXT")
    restored(worker, talk)


def test_what_people_type_is_text_and_never_html(user: User, worker: Server, talk: str) -> None:
    """In names, texts and files' names; nothing of it runs, all of it is shown as it was typed."""
    page = user.page
    user.open("interview.flac")
    for hostile in HOSTILE:
        page.get_by_role("button", name=re.compile("^Rename ")).first.click()
        page.keyboard.insert_text(hostile)
        page.keyboard.press("Enter")
        expect(page.locator(".row .name").first).to_have_text(hostile)
        user.type_text(1, hostile)
        page.keyboard.press("Enter")
        expect(page.locator("[data-number='1'] .text")).to_have_text(hostile)
    job_id = worker.upload("<img src=x onerror=window.hacked=1>.flac", SAMPLE.read_bytes()[:2000])
    worker.ended(job_id)
    page.goto(f"{worker.url}/#{job_id}")
    expect(page.locator(".head h1")).to_have_text("<img src=x onerror=window.hacked=1>.flac")
    assert page.evaluate("window.hacked") is None
    assert worker.request("DELETE", f"/v1/jobs/{job_id}")[0] == 204
    restored(worker, talk)


def test_all_of_it_goes_by_keyboard(user: User, worker: Server, talk: str) -> None:
    """A segment is chosen, given to another speaker, edited and exported without a mouse; Space plays."""
    page = user.page
    user.open("interview.flac")
    page.keyboard.press("ArrowDown")
    expect(page.locator("[data-number='0'].active")).to_be_visible()
    page.keyboard.press("2")
    until(lambda: "assign" in str(worker.request("GET", f"/v1/jobs/{talk}/corrections/history")[1]), within_s=30)
    page.keyboard.press("Enter")
    page.keyboard.type(" Yes.")
    page.keyboard.press("Enter")
    expect(page.locator("[data-number='0'] .text")).to_have_text("Hello happy teacher. Yes.")
    page.locator("section.transcript").focus()
    page.keyboard.press(" ")
    until(lambda: user.sound("currentTime") > 0.2, "Space plays", within_s=30)
    page.keyboard.press("k")
    page.keyboard.press("?")
    expect(page.get_by_role("heading", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.get_by_text("More options").press("Enter")
    expect(page.get_by_label("Names and terms")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_label("Names and terms")).to_be_hidden()
    restored(worker, talk)


def test_recordings_are_found_by_what_is_in_them(user: User, talk: str) -> None:
    """By a word of the text; what is not found says so; an empty search shows all again."""
    page = user.page
    search = page.get_by_role("searchbox", name="Search names and texts")
    entry = page.get_by_role("navigation").get_by_role("link", name="interview.flac")
    search.fill("nothingofthekind")
    expect(page.get_by_text("No recording has these words")).to_be_visible()
    search.fill("beautiful garden")
    expect(entry).to_be_visible()
    search.fill("")
    expect(entry).to_be_visible()


def test_a_job_is_deleted_unless_that_is_taken_back(user: User, worker: Server, talk: str) -> None:
    """Undo brings it back, and nothing was sent; without it the job goes."""
    page = user.page
    job_id = worker.upload("old.flac", SAMPLE.read_bytes()[:2000])
    worker.ended(job_id)
    page.clock.install()
    page.reload()
    entry = page.get_by_role("navigation").get_by_role("link", name="old.flac")
    for is_undone in (True, False):
        entry.hover()
        page.get_by_role("button", name="Delete old.flac").click()
        expect(entry).to_have_count(0)
        if is_undone:
            page.get_by_role("button", name="Undo").click()
            expect(entry).to_be_visible()
            assert worker.job(job_id)["status"] == "failed"
        else:
            page.clock.fast_forward("00:08")
    until(lambda: worker.request("GET", f"/v1/jobs/{job_id}")[0] == 404, "it is deleted", within_s=60)


def test_what_failed_is_tried_again(user: User, worker: Server, tmp_path: Path) -> None:
    """With the same options, and whatever is chosen in the form by now: at a click while this tab has the file; after a
    reload, the page says that the file has to be chosen, which may be the mended one."""
    page, name = user.page, "cut-off.wav"
    (tmp_path / name).write_bytes(b"RIFF" + bytes(3000))
    page.get_by_role("combobox", name="Language").select_option("de")
    page.get_by_role("combobox", name="Speakers", exact=True).select_option("no")
    user.drop(name, tmp_path / name, speakers="no")
    title = page.get_by_role("heading", name="This recording could not be transcribed")
    expect(title).to_be_visible()
    first = page.url.partition("#")[2]
    page.get_by_role("combobox", name="Language").select_option("")
    page.get_by_role("button", name="Try again").click()
    until(lambda: (page.wait_for_timeout(50), page.url.partition("#")[2] not in ("", first))[1], "it is sent again")
    expect(title).to_be_visible()
    second = page.url.partition("#")[2]
    page.reload()
    expect(page.get_by_text("the worker does not keep it for that")).to_be_visible()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose the file", exact=True).click()
    chooser.value.set_files(SAMPLE)
    user.finished()
    third = page.url.partition("#")[2]
    jobs = [worker.job(job_id) for job_id in (first, second, third)]
    assert [job["status"] for job in jobs] == ["failed", "failed", "complete"]
    assert jobs[0]["options"]["language"] == "de" and not jobs[0]["options"]["diarizationEnabled"]
    assert jobs[0]["options"] == jobs[1]["options"] == jobs[2]["options"]


def test_an_upload_goes_on_after_a_reload(user: User, worker: Server) -> None:
    """Half of it is sent, the page is loaded again, and the same file sends the other half: nothing twice."""
    page = user.page
    sent: list[int] = []
    page.on("request", lambda one: one.method == "PATCH" and sent.append(int(one.headers["upload-offset"])))
    page.evaluate(_SMALL_PIECES)
    page.route("**/v1/uploads/*", lambda route: route.abort() if len(sent) == 3 else route.continue_())
    user.drop("long.flac", speakers="no")
    until(lambda: (page.wait_for_timeout(50), len(sent) >= 3)[1], "the line breaks in the third piece", within_s=30)
    page.unroute("**/v1/uploads/*")
    page.reload()
    expect(page.get_by_text("Choose the same file again to go on")).to_be_visible()
    before = len(sent)
    user.drop("long.flac", speakers="no")
    user.finished()
    assert sent[before] > 0
    assert page.evaluate("Object.keys(localStorage).filter((key) => key.startsWith('tus')).length") == 0


_SMALL_PIECES = """async () => {
  await import("./page/tus.js");
  const start = tus.Upload.prototype.start;
  tus.Upload.prototype.start = function () {
    Object.assign(this.options, { chunkSize: 2e5, retryDelays: null });
    start.call(this);
  };
}"""


def test_the_page_is_light(user: User) -> None:
    """All of its own files together stay below 150 KB as they are sent."""
    page = user.page
    sizes = page.evaluate(
        "performance.getEntriesByType('resource').filter(({ name }) => name.includes('/page/'))"
        ".map((one) => one.encodedBodySize)"
    )
    assert len(sizes) > 20
    assert sum(sizes) < 150_000
