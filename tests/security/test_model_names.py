"""S9: a client names a model from the operator's list; nothing that it sends is ever loaded as one."""

import json
import pickle
from pathlib import Path

import pytest

from tests.process.server_of import Server
from tests.security.canary import planted
from tests.security.wire import field_part, file_part, form, upload

NAMES = [
    "/etc/passwd", "../tiny.pt", "./tiny", "tiny.pt", "tiny.en/../tiny", "file:///tmp/tiny.pt",
    "http://127.0.0.1/tiny.pt", "https://example.org/tiny.pt", "openai/whisper-tiny", "hf://openai/whisper-tiny",
    "pyannote/speaker-diarization", "github:openai/whisper", "C:\\tiny.pt", "\\\\host\\tiny.pt",
    "~/.cache/whisper/tiny.pt", "fake/../fake", "fake ", "FAKE", "fake\0", "fake\n", "fake=/tmp/x.pt",
    "fake,/tmp/x.pt", "large-v3", "tiny", "__class__", "${HOME}/x.pt", "fake.pt",
]  # fmt: skip


def test_a_canary_springs(tmp_path: Path) -> None:
    """Else the tests below prove nothing."""
    raw, sprung = planted(tmp_path)
    pickle.loads(raw)
    assert sprung.exists()


@pytest.mark.parametrize("way", ["field", "options"])
def test_only_names_of_the_operators_list_are_models(app: Server, port: int, tmp_path: Path, way: str) -> None:
    """Paths, addresses and repositories are 400; so is the path of a planted pickle, or of the very upload."""
    raw, sprung = planted(tmp_path)
    (tmp_path / "model.pt").write_bytes(raw)
    known = app.submit()
    stored = app.log.parent / "data" / "jobs" / known
    for name in [*NAMES, str(tmp_path / "model.pt"), str(stored / "0"), f"../jobs/{known}/0"]:
        options = field_part("model", name) if way == "field" else field_part("options", json.dumps({"model": name}))
        answer = upload(port, form(options, file_part(raw, "model.pt")))
        assert answer.statuses == [400], (name, answer.raw[:300])
        assert b'"BAD_OPTION"' in answer.raw
    assert not sprung.exists()
