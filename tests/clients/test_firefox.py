"""The page in Debian's Firefox, through puppeteer-core: playwright, of tests/page, runs only a Firefox of its own."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.demo_worker import DEMO, DEMO_WORKER
from tests.process.server_of import TOKEN, serving

pytestmark = [
    pytest.mark.clients,
    pytest.mark.speech,
    pytest.mark.system("node", "firefox-esr", "libavcodec"),
    pytest.mark.timeout(300),
]


def test_the_page_in_firefox(tmp_path: Path) -> None:
    """A recording becomes text, a pressed word is marked and its sound is decoded, a name is kept; no script fails,
    and nobody else is asked for anything. The worker still starts when the recording comes: speakers are told apart."""
    command = ["node", "page.mjs"]
    with serving(tmp_path, **DEMO_WORKER) as worker:
        arguments = [f"{worker.url}/", TOKEN, str(shutil.which("firefox-esr")), str(DEMO / "sample.flac")]
        done = subprocess.run(
            [*command, *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=280, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        names = worker.request("GET", "/v1/jobs")[1]["jobs"][0]["workerJobId"]
        corrected = worker.request("GET", f"/v1/jobs/{names}/corrections")[1]["inputs"]
    seen = json.loads(done.stdout)
    assert seen["text"][0] == "Hello happy teacher."
    assert len(seen["text"]) > 5
    assert (seen["errors"], seen["elsewhere"]) == ([], [])
    assert seen["marked"] in ("happy", "teacher.")
    assert seen["loudest"] > 0.05
    assert corrected[0]["speakers"][0]["name"] == "Anna"
