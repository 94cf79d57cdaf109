"""Files that lie at the worker before they are jobs, so that a program may note each step before the next."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from btworker.client.model import Job, read_job
from btworker.client.resumable import ResumableUpload
from btworker.client.transcripts import Ask
from btworker.client.trying import repeated


class Uploads:
    """Of one worker; Client.uploads gives it."""

    def __init__(self, ask: Ask, begin: Callable[..., ResumableUpload]) -> None:
        self._ask = ask
        self._begin = begin

    async def send(
        self, path: str | Path, *, on_away: Callable[[], None] | None = None, memory: Path | None = None
    ) -> str:
        """Upload one file, in pieces as Client.send does; the id of the upload, of which `submit` makes a job."""
        return await self._begin(Path(path), None, on_away=on_away, memory=memory).send()

    async def submit(self, ids: Sequence[str], options: Mapping[str, Any] | None, *, idempotency_key: str) -> Job:
        """One job of these uploads; the same key is the same job, whatever has become of the uploads since."""
        body = {"uploads": list(ids), "options": dict(options or {})}
        headers = {"Idempotency-Key": idempotency_key}
        return read_job(await repeated(lambda: self._ask("POST", "/v1/jobs", json=body, headers=headers)))
