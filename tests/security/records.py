"""What a server wrote: its log as records, and whether a secret stands anywhere."""

import json
from pathlib import Path
from typing import Any

from tests.security.secrets_of_test import SECRETS

MAX_LINE_BYTES = 64 * 1024


def log_records(log: Path) -> list[dict[str, Any]]:
    """Every line as one JSON object; fails where a line is none, is endless, or holds anything but printable ASCII."""
    records = []
    for line in log.read_bytes().split(b"\n")[:-1]:
        assert len(line) < MAX_LINE_BYTES
        assert all(0x20 <= byte < 0x7F for byte in line), line[:500]
        record = json.loads(line)
        assert isinstance(record, dict), line[:500]
        assert {"ts", "level", "event", "message"} <= record.keys(), record
        records.append(record)
    return records


def assert_no_secret(place: Path) -> None:
    """No file at or below `place` holds a secret."""
    files = [path for path in place.rglob("*") if path.is_file()] if place.is_dir() else [place]
    assert files
    for path in files:
        content = path.read_bytes()
        found = [secret for secret in SECRETS if secret.encode() in content]
        assert not found, (path.name, found)
