"""Transcripts of a worker's jobs: in any format, and what people correct in them."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import aiohttp

from btworker.client.download import safe_name, save
from btworker.client.errors import ClientError, explained, refused

TRIES = 5
"""Of a change that stands on no version: others may be first."""


class Ask(Protocol):
    """One question to the worker; the JSON of its answer."""

    def __call__(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Awaitable[Any]:
        """Ask it. Raises ClientError."""


class Transcripts:
    """Of one worker; Client.transcripts gives it."""

    def __init__(self, ask: Ask, http: aiohttp.ClientSession, base_url: str) -> None:
        self._ask = ask
        self._http = http
        self._base_url = base_url

    async def corrections(self, job_id: str, *, version: int | None = None) -> Mapping[str, Any]:
        """What is corrected now, or was at a version (docs/corrections.md); `version` stands there as well."""
        query = None if version is None else {"version": str(version)}
        return dict(await self._ask("GET", _path(job_id), query))

    async def history(self, job_id: str) -> list[Mapping[str, Any]]:
        """Every change, newest first: its version, who made it, and when."""
        changes: list[Mapping[str, Any]] = []
        query = {"limit": "1000"}
        while True:
            page = await self._ask("GET", f"{_path(job_id)}/history", query)
            changes += page["changes"]
            if page["before"] is None:
                return changes
            query["before"] = str(page["before"])

    async def correct(
        self, job_id: str, edits: Sequence[Mapping[str, Any]], *, version: int | None = None
    ) -> Mapping[str, Any]:
        """Correct a transcript, by edits such as {"op": "name", "speaker": "SPEAKER_00", "name": "Anna"}.

        With the `version` that they stand on, ClientError(PRECONDITION_FAILED) where somebody else was first; without
        one they are made on whatever there is.
        """
        return await self._change(job_id, {"edits": list(edits)}, version)

    async def restore(self, job_id: str, wanted: int, *, version: int | None = None) -> Mapping[str, Any]:
        """Bring what was corrected at version `wanted` back, as a new version; 0: nothing is corrected."""
        return await self._change(job_id, {"restore": wanted}, version)

    async def _change(self, job_id: str, body: Mapping[str, Any], version: int | None) -> Mapping[str, Any]:
        headers = {"If-Match": "*" if version is None else f'"{version}"'}
        for left in reversed(range(TRIES)):
            try:
                return dict(await self._ask("PATCH", _path(job_id), json=body, headers=headers))
            except ClientError as error:
                if error.status != 412 or version is not None or not left:
                    raise
        raise AssertionError  # the last round returned or raised

    async def save(
        self,
        job_id: str,
        kind: str,
        folder: Path,
        *,
        index: int = 0,
        corrected: bool = True,
        on_replaced: Callable[[Path], None] | None = None,
    ) -> Path:
        """Save the transcript of input number `index` in a format (json, md, srt, docx, …) and return its path; without
        people's corrections where `corrected` is false. See Client.download for `on_replaced`."""
        query = {"format": kind, "input": str(index), "corrected": str(corrected).lower()}
        url = f"{self._base_url}/v1/jobs/{quote(job_id, safe='')}/transcript"
        with explained(self._base_url):
            async with self._http.get(url, params=query, allow_redirects=False) as response:
                if response.status != 200:
                    raise await refused(response)
                target = folder / safe_name(_filename(response))
                return await save(response.content.iter_chunked(2**18), target, sha256=None, on_replaced=on_replaced)


def _path(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}/corrections"


def _filename(response: aiohttp.ClientResponse) -> str:
    """The name that the server gives, in its international form where that is there."""
    disposition = response.content_disposition
    return (disposition and disposition.filename) or ""
