"""What the systemd unit gives the service: its own lines, and the operator's file. For `btworker doctor --env-file`."""

import os
import re
import shlex
from pathlib import Path

UNIT = {
    "HOME": "/var/lib/btworker",
    "XDG_CACHE_HOME": "/var/cache/btworker",
    "TRITON_CACHE_DIR": "/var/cache/btworker/triton",
    "HF_HOME": "/var/cache/btworker/huggingface",
    "WORKER_DATA_DIR": "/var/lib/btworker",
}
"""The Environment= lines of deploy/systemd/btworker.service; its credential is the file `token` beside the settings."""
_OURS = re.compile(r"(WORKER_|DIARIZATION_|HF_|HUGGINGFACE_)")


def unit_environment(path: Path) -> dict[str, str]:
    """The environment of the service whose settings are in this file. Raises OSError."""
    inherited = {name: value for name, value in os.environ.items() if not _OURS.match(name)}
    credential = {"WORKER_TOKEN_FILE": str(path.absolute().with_name("token"))}
    return {**inherited, **UNIT, **credential, **read_environment_file(path)}


def read_environment_file(path: Path) -> dict[str, str]:
    """Variables as systemd reads them (EnvironmentFile=): no `export`, no comment behind a value. Raises OSError."""
    text = path.read_text("utf-8").replace("\\\n", "")
    lines = [line.strip() for line in text.splitlines()]
    pairs = [line.partition("=") for line in lines if line and line[0] not in "#;"]
    return {name.strip(): _value(raw.strip()) for name, equals, raw in pairs if equals}


def _value(raw: str) -> str:
    try:
        return "".join(shlex.split(raw)) if raw[:1] in ("'", '"') else raw
    except ValueError:  # a quote that does not end
        return raw
