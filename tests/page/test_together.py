"""Speakers who are one or somebody new, and people who correct one transcript at once: nothing is overwritten unseen,
and nothing that somebody typed is lost."""

import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.page.stored import SHORT, finished_job, restored
from tests.page.user import User
from tests.process.server_of import Server
from tests.waiting import until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def another(worker: Server, browser: Browser, talk: str) -> Iterator[User]:
    """Somebody else with the same transcript open."""
    with User.at(worker, browser, f"#{talk}") as someone:
        someone.enter()
        someone.finished()
        yield someone


@pytest.fixture(autouse=True)
def as_before(worker: Server, talk: str) -> Iterator[None]:
    """Take back what a test corrects."""
    yield
    restored(worker, talk)


def corrected(worker: Server, job_id: str) -> str:
    """What is corrected now, as JSON."""
    return json.dumps(worker.request("GET", f"/v1/jobs/{job_id}/corrections")[1]["inputs"])


def test_two_speakers_become_one(user: User, worker: Server, talk: str) -> None:
    """In every row, in the panel and in what is exported; undo parts them."""
    page = user.page
    user.open("interview.flac")
    speakers = page.locator(".speakers li")
    expect(speakers).to_have_count(2)
    page.get_by_label("SPEAKER_01 is the same person as").select_option("SPEAKER_00")
    expect(speakers).to_have_count(1)
    expect(page.locator(".row .name")).to_have_count(1)
    assert set(re.findall(r"SPEAKER_\d\d", user.export("RTTM"))) == {"SPEAKER_00"}
    page.keyboard.press("Control+z")
    expect(speakers).to_have_count(2)


def test_a_segment_becomes_somebody_new(user: User, worker: Server, talk: str) -> None:
    """By the row's list or the key 0; the name is asked for at once, and is in the panel and in what is exported."""
    page = user.page
    user.open("interview.flac")
    row = page.locator("[data-number='1']")
    row.hover()
    row.get_by_role("combobox").select_option(label="Somebody new")
    page.get_by_label("Name of SPEAKER_02").fill("Carla")
    page.keyboard.press("Enter")
    expect(row.get_by_role("button", name="Rename Carla")).to_be_focused()
    expect(page.locator(".speakers li")).to_have_count(3)
    page.locator("section.transcript").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("0")
    expect(page.get_by_label("Name of SPEAKER_03")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator(".speakers li")).to_have_count(4)
    found = worker.request("GET", f"/v1/jobs/{talk}/transcript?format=json")[1]["segments"]
    assert "Carla" in [one["speaker"] for one in found]


def test_two_people_change_two_things(user: User, another: User, worker: Server, talk: str) -> None:
    """Whoever is second sends a change to a version that is not the newest: both are kept without a word."""
    user.open("interview.flac")
    another.type_text(0, "Hello, happy pupils.")
    another.page.keyboard.press("Enter")
    expect(another.page.locator("[data-number='0'] .text")).to_have_text("Hello, happy pupils.")
    user.type_text(1, "Mine.")
    user.page.keyboard.press("Enter")
    expect(user.page.locator("[data-number='0'] .text")).to_have_text("Hello, happy pupils.")
    expect(user.page.locator("[data-number='1'] .text")).to_have_text("Mine.")
    expect(user.page.locator(".notice")).to_have_count(0)
    another.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(another.page.locator("[data-number='1'] .text")).to_have_text("Mine.")


def test_two_people_change_the_same_text(user: User, another: User, worker: Server, talk: str) -> None:
    """The second sees the first one's text, still has the own one, and decides; not even a look in between hides it."""
    user.open("interview.flac")
    user.type_text(0, "Second.")
    another.type_text(0, "First.")
    another.page.keyboard.press("Enter")
    until(lambda: "First." in corrected(worker, talk), "the first one is kept", within_s=60)
    user.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    user.page.keyboard.press("Enter")
    text = user.page.locator("[data-number='0'] .text")
    expect(user.page.locator(".notice")).to_contain_text("Somebody else changed the same place first")
    expect(user.page.locator(".notice")).to_contain_text("“Second.”")
    expect(text).to_have_text("First.")
    user.page.get_by_role("button", name="Keep mine").click()
    expect(text).to_have_text("Second.")
    assert "Second." in corrected(worker, talk)


def test_a_change_belongs_to_its_recording(user: User, worker: Server, talk: str) -> None:
    """Somebody who types, and goes to another recording without a key, has changed the first one and not the second."""
    other = finished_job(worker, "other.flac", SHORT)
    user.open("interview.flac")
    user.type_text(0, "Of the interview.")
    user.page.evaluate(f"location.hash = '{other}'")
    until(lambda: "Of the interview." in corrected(worker, talk), "it is kept where it was typed", within_s=60)
    assert corrected(worker, other) == "[]"
    assert worker.request("DELETE", f"/v1/jobs/{other}")[0] == 204
