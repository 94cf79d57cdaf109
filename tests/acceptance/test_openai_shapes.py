"""Every request shape of OpenAI's guide and API reference for speech, by the official package, unmodified.

The shapes are in tests/clients/shapes.json, which tests/clients runs with the package for Node. Those of a dialogue,
whose speakers take their time, are for BTWORKER_FULL=1; test_openai_client.py has one of them.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Worker
from tests.clients.short_talk import short_talk
from tests.demo_worker import DEMO, DEMO_WORKER
from tests.process.server_of import TOKEN
from tests.slices import FULL

openai = pytest.importorskip("openai", reason="the pinned one needs Python 3.11")
pytestmark = [pytest.mark.speech, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
SHAPES = json.loads((ROOT / "tests" / "clients" / "shapes.json").read_text())


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """Serves the demo's model."""
    worker = Worker(tmp_path_factory.mktemp("worker"), DEMO_WORKER).start()
    yield worker
    assert worker.stop() == 0, worker.log.read_text()[-3000:]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Four seconds of somebody, and the dialogue of two."""
    return {"talk": short_talk(tmp_path_factory.mktemp("files")), "dialogue": DEMO / "sample.flac"}


@pytest.mark.sliced("shapes", 5)
@pytest.mark.parametrize("shape", [one for one in SHAPES if FULL or "file" not in one], ids=lambda shape: shape["name"])
@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the client's own word on translations
@pytest.mark.filterwarnings("ignore:The model:DeprecationWarning")
def test_a_shape_is_answered(worker: Worker, files: dict[str, Path], shape: dict[str, Any]) -> None:
    """With the fields, values and events that the reference has for it."""
    with openai.OpenAI(base_url=f"{worker.url}/v1", api_key=TOKEN, max_retries=0) as client:
        call = getattr(client.audio, shape.get("call", "transcriptions"))
        with files[shape.get("file", "talk")].open("rb") as file:
            answer = call.create(file=file, **shape["options"])
        if "events" in shape:
            events = list(answer)
            assert list(dict.fromkeys(event.type for event in events)) == shape["events"]
            deltas = (event.delta for event in events if event.type == "transcript.text.delta")
            assert "".join(deltas) == events[-1].text
            answer = events[-1]
    if "part" in shape:
        assert shape["part"] in answer
        return
    found = answer.to_dict()
    for path in shape.get("has", []):
        assert at(found, path) is not None
    for path, value in shape.get("is", {}).items():
        assert at(found, path) == value


def at(found: Any, path: str) -> Any:
    """ "words.0.start" of an answer."""
    for step in path.split("."):
        found = found[int(step)] if step.isdecimal() else found[step]
    return found


def test_each_shape_has_a_row_in_the_docs() -> None:
    """Of docs/openai.md, under its own name."""
    rows = [line for line in (ROOT / "docs" / "openai.md").read_text().splitlines() if line.startswith("| ")]
    first_cells = {row.split("|")[1].strip() for row in rows}
    assert {shape["name"] for shape in SHAPES} - first_cells == set()
