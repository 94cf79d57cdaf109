"""Somebody at the page: a browser context that notes what no page of ours may do."""

import base64
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect

from tests.demo_worker import DEMO
from tests.process.server_of import TOKEN, Server

SAMPLE = DEMO / "sample.flac"
WITHIN_MS = 60_000
expect.set_options(timeout=WITHIN_MS)
_WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`));
"""
_DROP = """async ([name, type, base64]) => {
  const bytes = Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type, lastModified: 1 }));
  for (const kind of ["dragover", "drop"]) {
    document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
  }
}"""
_PLACE_OF_WORD = """(word) => {
  for (const text of document.querySelectorAll(".row .text")) {
    const at = text.firstChild.data.indexOf(word);
    if (at < 0) continue;
    text.scrollIntoView({ block: "center" });
    const range = new Range();
    range.setStart(text.firstChild, at);
    range.setEnd(text.firstChild, at + word.length);
    const { x, y, width, height } = range.getBoundingClientRect();
    return [x + width / 2, y + height / 2];
  }
}"""


@dataclass
class User:
    """One tab. `mistakes` has what the page did wrong; requests of the tests themselves are not in it."""

    worker: Server
    page: Page
    mistakes: list[str] = field(default_factory=list)

    @classmethod
    @contextmanager
    def at(cls, worker: Server, browser: Browser, place: str = "", **options: Any) -> Iterator["User"]:
        """Open the page, at a place of it; at the end nothing may have gone wrong in it."""
        context = browser.new_context(**{"viewport": {"width": 1360, "height": 820}, "locale": "en-GB", **options})
        context.set_default_timeout(WITHIN_MS)
        context.add_init_script(_WATCH)
        user = cls(worker, context.new_page())
        user.watch()
        user.page.goto(f"{worker.url}/{place}")
        yield user
        mistakes = [*user.mistakes, *user.page.evaluate("window.violations")]
        assert not mistakes, mistakes
        context.close()

    def watch(self) -> None:
        """Note scripts' errors and requests to elsewhere."""
        page, here = self.page, self.worker.url + "/"
        page.on("pageerror", lambda error: self.mistakes.append(f"error: {error}"))
        page.on(
            "request",
            lambda request: (
                request.url.startswith((here, "blob:" + here, "data:"))
                or self.mistakes.append(f"elsewhere: {request.url}")
            ),
        )

    def enter(self, token: str = TOKEN) -> None:
        """Type the token."""
        self.page.get_by_label("Token").fill(token)
        self.page.get_by_role("button", name="Continue").click()

    def drop(self, name: str, path: Path = SAMPLE, *, speakers: str = "found") -> None:
        """Drop a file onto the page, under a name."""
        self.page.get_by_role("combobox", name="Speakers", exact=True).select_option(speakers)
        self.page.evaluate(_DROP, [name, "audio/flac", base64.b64encode(path.read_bytes()).decode()])

    def open(self, name: str) -> None:
        """Choose a recording in the list, and wait for its text."""
        self.page.get_by_role("navigation").get_by_role("link", name=name).click()
        self.finished()

    def finished(self) -> None:
        """Wait until the finished transcript is shown."""
        expect(self.page.get_by_role("button", name="Export")).to_be_visible(timeout=WITHIN_MS)
        expect(self.page.locator(".player")).to_be_visible(timeout=WITHIN_MS)

    def type_text(self, number: int, text: str) -> None:
        """Type a segment's text, and be still at it."""
        row = self.page.locator(f"[data-number='{number}']")
        row.hover()
        row.get_by_role("button", name=re.compile("^Edit the text")).click()
        self.page.get_by_label("Text of this segment").fill(text)

    def export(self, label: str) -> str:
        """Export in a format; the file's text."""
        self.page.keyboard.press("e")
        with self.page.expect_download() as download:
            self.page.get_by_role("button", name=label).click()
        self.page.keyboard.press("Escape")
        expect(self.page.get_by_role("dialog")).to_have_count(0)
        return Path(download.value.path()).read_text()

    def press_word(self, word: str) -> None:
        """Click into the middle of the first such word of the transcript."""
        x, y = self.page.evaluate(_PLACE_OF_WORD, word)
        self.page.mouse.click(x, y)

    def spoken(self) -> str:
        """The word that is marked; empty where none is."""
        return str(self.page.evaluate("[...(CSS.highlights.get('spoken') ?? [])].join()"))

    def sound(self, expression: str) -> Any:
        """A property of the one <audio>, which is in no document."""
        return self.page.evaluate(f"async () => (await import('./page/playback.js')).audio.{expression}")

    def shown(self) -> Sequence[str]:
        """The texts of the transcript's rows."""
        return [text.strip() for text in self.page.locator(".row .text").all_inner_texts()]
