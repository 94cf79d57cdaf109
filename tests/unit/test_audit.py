"""`make audit`: what is known of the pins is told, what is new fails, and no answer is no good news."""

from pathlib import Path

import pytest

import audit

ROOT = Path(__file__).resolve().parents[2]

AS_OF, ADVISORIES = audit.known()


def test_the_page_and_the_list_say_the_same() -> None:
    """Every advisory of the list, with what it means, the stacks that have it, and the list's date."""
    page = (ROOT / "docs" / "security.md").read_text()
    assert f"**{AS_OF}**" in page
    rows = {cells[0]: cells for line in page.splitlines() if len(cells := line.strip("| ").split(" | ")) == 5}
    for one in ADVISORIES:
        stacks = [stack for stack in audit.STACKS if any(one.id in line for line in audit.by_hand(stack, [one]))]
        assert rows[one.id] == [one.id, ", ".join(stacks), one.fixed_in or "none named", one.what, one.here]


@pytest.mark.parametrize(
    ("version", "concerned"), [("2.2.2", True), ("2.5.9+cu121", True), ("2.6.0", False), ("2.11.0", False)]
)
def test_a_release_below_the_fix_is_concerned(version: str, concerned: bool) -> None:
    """Compared as numbers: 2.11 is above 2.6."""
    assert audit.Advisory("CVE-1", "torch", "2.6.0", "", "").concerns(version) is concerned
    assert audit.Advisory("CVE-1", "torch", None, "", "").concerns(version)
    assert audit.Advisory("CVE-1", "torch", None, "", "", last_affected="2.5.9").concerns(version) is concerned


def test_what_is_not_in_the_list_is_new() -> None:
    """A finding counts as known by any of its names."""
    old = audit.Found("torch", "2.2.2", frozenset({"PYSEC-2025-41", "CVE-2025-32434"}))
    lines, is_new = audit.judged([old], ADVISORIES)
    assert not is_new and "Here: Whisper checkpoints" in lines[0]
    new = audit.Found("aiohttp", "3.14.5", frozenset({"CVE-2027-1"}))
    lines, is_new = audit.judged([old, new], ADVISORIES)
    assert is_new and lines[1] == "  aiohttp 3.14.5: NEW: CVE-2027-1"


def test_no_answer_is_no_good_news(capsys: pytest.CaptureFixture[str]) -> None:
    """A mirror knows no advisories: where every package is skipped, nothing was audited; a part is told."""
    skipped = {"name": "torch", "skip_reason": "not found"}
    clean = {"name": "rich", "version": "15.0.0", "vulns": []}
    hit = {"name": "torch", "version": "2.2.2", "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"]}]}
    assert audit.read([skipped, skipped]) is None
    assert audit.read([skipped, clean]) == [] and "1 of 2 packages were not audited" in capsys.readouterr().out
    assert audit.read([hit, clean]) == [audit.Found("torch", "2.2.2", frozenset({"PYSEC-1", "CVE-1"}))]
