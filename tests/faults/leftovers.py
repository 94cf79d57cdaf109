"""What is in a data folder, and what the log warned of."""

import json
from pathlib import Path
from typing import Any

from tests.process.server_of import Server


def files_of(folder: Path, part: str) -> dict[tuple[str, str], bytes]:
    """(job id, name) -> bytes of all files under jobs*/<id>/<part>/, wherever those were put."""
    found = {}
    for path in (folder / "data").glob(f"jobs*/*/{part}/*"):
        found[path.parts[-3], path.name] = path.read_bytes()
    return found


def warnings_of(server: Server, event: str) -> list[dict[str, Any]]:
    """The log lines of one event."""
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]
