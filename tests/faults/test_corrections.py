"""kill -9 in the middle of changes: what was answered is there, in order, and nothing is half there."""

import json
import random
import threading
import urllib.error
from pathlib import Path
from typing import Any

import pytest

from tests.process.server_of import Server, serving
from tests.slices import FULL
from tests.waiting import until

KILLS = 50 if FULL else 4
WRITERS = 3


class Writer(threading.Thread):
    """Corrects a job again and again until the server is gone, and remembers what it was answered."""

    def __init__(self, server: Server, url: str, name: str) -> None:
        super().__init__(name=name)
        self.server, self.url, self.number = server, url, 0
        self.answered: dict[int, str] = {}
        self.unanswered: set[str] = set()

    def run(self) -> None:
        while True:
            text = f"{self.name}.{self.number}"
            body = json.dumps({"edits": [{"op": "text", "segment": 0, "text": text}]}).encode()
            try:
                version = self.server.request("GET", self.url)[1]["version"]
                self.unanswered.add(text)
                headers = {"Content-Type": "application/json", "If-Match": f'"{version}"'}
                status, answer = self.server.request("PATCH", self.url, body, **headers)
            except (OSError, urllib.error.URLError, ValueError):
                return
            self.unanswered.discard(text)
            self.number += 1
            if status == 200:
                self.answered[answer["version"]] = text
            else:
                assert status == 412, answer


def history(server: Server, url: str) -> dict[int, str]:
    """Version -> text, of all changes."""
    found: dict[int, str] = {}
    before: Any = ""
    while before is not None:
        page = server.request("GET", f"{url}/history?limit=1000&before={before}")[1]
        found |= {one["version"]: one["edits"][0]["text"] for one in page["changes"]}
        before = page["before"]
    return found


@pytest.mark.timeout(1800 if FULL else 120)
def test_no_answered_change_is_lost(tmp_path: Path) -> None:
    """Three writers at once, and the server is killed at random moments: each change that was answered is there under
    its version, versions have no gap, and one that was not answered is there as a whole or not at all."""
    chance = random.Random(7)
    with serving(tmp_path) as server:
        job_id = server.submit()
        server.ended(job_id)
        url = f"/v1/jobs/{job_id}/corrections"
        answered: dict[int, str] = {}
        unanswered: set[str] = set()
        for round_number in range(KILLS):
            writers = [Writer(server, url, f"{round_number}.{number}") for number in range(WRITERS)]
            for writer in writers:
                writer.start()
            enough = chance.randrange(1, 20)
            until(lambda: sum(len(one.answered) for one in writers) >= enough, "changes were answered")  # noqa: B023
            server.process.kill()
            server.process.wait()
            for writer in writers:
                writer.join()
                answered |= writer.answered
                unanswered |= writer.unanswered
            server.start()
            found = history(server, url)
            assert sorted(found) == list(range(1, len(found) + 1))
            assert answered.items() <= found.items()
            assert set(found.values()) - set(answered.values()) <= unanswered
        assert len(answered) >= KILLS
