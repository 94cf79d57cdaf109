"""Client: one method per thing that a worker can be asked for. Every error is a ClientError."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import aiohttp

from btworker import __version__
from btworker.client.download import safe_name, save
from btworker.client.errors import BAD_ANSWER, ClientError, explained, refused
from btworker.client.events import Event, events
from btworker.client.files import open_file
from btworker.client.model import Job, JobPage, read_job, read_page
from btworker.client.resumable import NotSpokenError, ResumableUpload
from btworker.client.send import read_json, send_upload
from btworker.client.transcripts import Transcripts
from btworker.client.trying import PATIENCE_S, ended, repeated, seen
from btworker.client.upload import ProgressCallback, Upload, Wanted
from btworker.client.uploads import Uploads
from btworker.jobs import JobStatus

CONNECT_S = 10.0
ANSWER_S = 60.0
"""Seconds without a byte of the answer after which a question counts as lost."""
UPLOAD_PATIENCE_S = 600.0
"""Seconds for which `send` goes on while nothing arrives: a server's restart, or a walk to another network."""


class Client:
    """A connection to one worker; use it as an async context manager."""

    def __init__(self, base_url: str, token: str) -> None:
        """`base_url` like http://host:8477 (a path before /v1 is kept); `token` is the worker's WORKER_TOKEN."""
        address = base_url if "://" in base_url else f"http://{base_url}"
        self.base_url = address.rstrip("/")
        self._token = token
        self._stack = AsyncExitStack()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Client":  # noqa: PYI034 - Self is not in Python 3.10
        # Without limits of its own: aiohttp would end every request after five minutes.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=ANSWER_S)
        headers = {"Authorization": f"Bearer {self._token}", "User-Agent": f"btworker/{__version__}"}
        self._session = await self._stack.enter_async_context(aiohttp.ClientSession(timeout=timeout, headers=headers))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()
        self._session = None

    async def ping(self) -> Mapping[str, Any]:
        """What the worker says of itself: version, models, GPU, limits, jobs at work, warnings (docs/api.md)."""
        return _object(await self._ask("GET", "/v1/ping"))

    async def preflight(self) -> Mapping[str, Any]:
        """What the worker's processes found in their surroundings: checks, versions, errors (docs/api.md)."""
        return _object(await self._ask("GET", "/v1/preflight"))

    async def alive(self) -> None:
        """Return once the worker has answered at all. Raises ClientError where it does not."""
        await self._ask("GET", "/health/live")

    async def readiness(self) -> Mapping[str, Any]:
        """Whether jobs would start now: `status` is ready or not_ready, the latter with `reasons`; `loading` where only
        the model is awaited."""
        with explained(self.base_url):
            async with self._http.get(self._url("/health/ready"), allow_redirects=False) as response:
                return _object(await read_json(response))

    async def submit(
        self,
        paths: Sequence[str | Path],
        options: Mapping[str, Any] | None = None,
        *,
        on_progress: ProgressCallback | None = None,
        idempotency_key: str | None = None,
        known_speakers: Mapping[str, str | Path] | None = None,
    ) -> Job:
        """Upload the files as one job, with options by their wire names ({"language": "en", "outputs": ["srt"],
        "channels": "separate", "ranges": [{"start": 300, "end": "0:10:00"}]}).

        `known_speakers`: name -> a file with 2 to 30 s of that voice; who speaks is then known by name.

        `on_progress(bytes sent, bytes in all)` is called after every chunk. With the same `idempotency_key` a second
        call gives the first one's job. A connection that breaks is tried again, twice; a refusal is raised at once.
        """
        upload = Upload([Path(path) for path in paths], Wanted.of(options, known_speakers), on_progress)
        headers = {"Idempotency-Key": idempotency_key or secrets.token_hex(16)}

        async def attempt() -> Any:
            with explained(self.base_url):
                return await send_upload(self._http, self._url("/v1/jobs"), upload, headers)

        return read_job(await repeated(attempt))

    async def submit_inputs(
        self,
        inputs: Sequence[Mapping[str, Any]],
        options: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        known_speakers: Mapping[str, str | Path] | None = None,
    ) -> Job:
        """One job of recordings that the worker fetches: {"url": "https://…"}, or {"s3": {"store", "bucket", "key"}} of
        a store that its operator has opened; with a "filename" if it has another.

        Options, voices and tries are those of `submit`; no byte of a recording goes through this program. The option
        {"outputsTo": {"s3": {"store", "bucket", "prefix"}}}, which `submit` takes as well, puts results there.
        """
        headers = {"Idempotency-Key": idempotency_key or secrets.token_hex(16)}
        wanted = Wanted.of(options, known_speakers)
        voices = [self._resumable(voice, None) for voice in wanted.voices]
        try:
            complete = wanted.with_voices([await voice.send() for voice in voices])
            body = {"inputs": [dict(one) for one in inputs], "options": complete}
            return read_job(await repeated(lambda: self._ask("POST", "/v1/jobs", json=body, headers=headers)))
        except ClientError:
            for voice in voices:
                await voice.withdraw()
            raise

    async def send(  # noqa: PLR0913 - by keyword, each with its default
        self,
        path: str | Path,
        options: Mapping[str, Any] | None = None,
        *,
        on_progress: ProgressCallback | None = None,
        on_job: Callable[[str], None] | None = None,
        on_away: Callable[[], None] | None = None,
        patience_s: float = UPLOAD_PATIENCE_S,
        memory: Path | None = None,
        withdraw: bool = False,
        known_speakers: Mapping[str, str | Path] | None = None,
    ) -> Job:
        """Upload one file as a job, in pieces that go on where a broken line or a restart of the server left them.

        `on_job(id)` is called as soon as there is a job, `on_away()` when the line breaks. The upload is given up when
        nothing more arrives for `patience_s` seconds. With a folder as `memory`, the next call with the same file and
        options goes on where this one was broken off, also in another process; with `withdraw`, one that is canceled
        leaves nothing on the server but the job that it may have become. `known_speakers` as in `submit`, which is how
        the file goes to a server without resumable uploads.
        """
        file, wanted, ways = Path(path), Wanted.of(options, known_speakers), {"memory": memory, "on_away": on_away}
        upload = self._resumable(file, wanted, patience_s=patience_s, on_progress=on_progress, **ways)
        try:
            job_id = await upload.send()
        except NotSpokenError:
            return await self.submit([file], options, on_progress=on_progress, known_speakers=known_speakers)
        except asyncio.CancelledError:
            if withdraw and (made := await upload.withdraw()) and on_job is not None:
                on_job(made)
            raise
        if on_job is not None:
            on_job(job_id)
        return await self._seen(job_id, time.monotonic(), on_away)

    @property
    def uploads(self) -> Uploads:
        """Files that lie at the worker before they are jobs."""
        return Uploads(self._ask, self._resumable)

    @property
    def transcripts(self) -> Transcripts:
        """Transcripts of jobs in any format, and what people correct in them."""
        return Transcripts(self._ask, self._http, self.base_url)

    async def job(self, job_id: str) -> Job:
        """One job."""
        return read_job(await self._ask("GET", _job_path(job_id)))

    async def jobs(
        self, *, status: JobStatus | None = None, limit: int = 50, cursor: str | None = None, q: str | None = None
    ) -> JobPage:
        """A page of jobs, newest first; with `q`, those with all of its words in names, texts or corrections."""
        query = {"limit": str(limit), "status": status and status.value, "cursor": cursor, "q": q}
        return read_page(await self._ask("GET", "/v1/jobs", {k: v for k, v in query.items() if v is not None}))

    async def voices(self) -> list[Mapping[str, Any]]:
        """The stored voices, as the API shows them."""
        return list((await self._ask("GET", "/v1/voices"))["voices"])

    async def add_voice(self, name: str, path: str | Path) -> Mapping[str, Any]:
        """Store the voice of 2 to 30 s of a file, in which that person alone speaks. Waits for it."""
        with open_file(Path(path)) as file:
            form = aiohttp.FormData({"name": name})
            form.add_field("file", file, filename="voice")
            return _object(await self._ask("POST", "/v1/voices", data=form))

    async def delete_voice(self, voice_id: str) -> None:
        """Delete a stored voice; jobs that were submitted with it keep their copy."""
        await self._ask("DELETE", f"/v1/voices/{quote(voice_id, safe='')}")

    async def usage(self, *, first: str | None = None, last: str | None = None) -> list[Mapping[str, Any]]:
        """What was used, by key and day (UTC, as 2026-11-29), as the API shows it; the last 31 days unless given."""
        query = {name: day for name, day in (("from", first), ("to", last)) if day is not None}
        return list((await self._ask("GET", "/v1/usage", query))["usage"])

    async def wait(
        self,
        job_id: str,
        *,
        on_update: Callable[[Job], None] | None = None,
        on_away: Callable[[], None] | None = None,
        timeout_s: float | None = None,
    ) -> Job:
        """The job once it has ended; `on_update(job)` is called with every look at it, `on_away()` when one fails.

        Raises asyncio.TimeoutError after `timeout_s` seconds. A server that goes away has a minute to come back.
        """
        return await asyncio.wait_for(ended(lambda: self.job(job_id), on_update, on_away), timeout_s)

    def events(self, job_id: str, *, patience_s: float = PATIENCE_S) -> AsyncIterator[Event]:
        """What happens to a job, as it happens, up to `done`: status, progress, and each segment once.

        A broken line is mended; a server that goes away has `patience_s` seconds to come back.
        """
        return events(self._http, self.base_url, f"{_job_path(job_id)}/events", patience_s=patience_s)

    async def cancel(self, job_id: str) -> None:
        """Ask for the job's end; one that has ended already stays as it is."""
        await self._ask("POST", f"{_job_path(job_id)}/cancel")

    async def delete(self, job_id: str) -> None:
        """Delete an ended job with its files. Raises ClientError(CONFLICT) while it waits or runs."""
        await self._ask("DELETE", _job_path(job_id))

    async def download(
        self,
        job_id: str,
        name: str,
        folder: Path,
        *,
        sha256: str | None = None,
        on_replaced: Callable[[Path], None] | None = None,
    ) -> Path:
        """Save one output in `folder` and return its path; with `sha256`, a file with another hash is refused.

        The file gets its name when it is complete. `name` may come from the server: only a plain file name is taken.
        What was there is replaced; with `on_replaced`, which gets its new path, another file of that name is kept.
        """
        target = folder / safe_name(name)
        url = self._url(f"{_job_path(job_id)}/outputs/{quote(name, safe='')}")
        with explained(self.base_url):
            async with self._http.get(url, allow_redirects=False) as response:
                if response.status != 200:
                    raise await refused(response)
                return await save(response.content.iter_chunked(2**18), target, sha256=sha256, on_replaced=on_replaced)

    async def _seen(self, job_id: str, last_seen: float, on_away: Callable[[], None] | None) -> Job:
        return await seen(lambda: self.job(job_id), last_seen, on_away)

    def _resumable(
        self, file: Path, wanted: Wanted | None, *, patience_s: float = UPLOAD_PATIENCE_S, **ways: Any
    ) -> ResumableUpload:
        return ResumableUpload(self._http, self.base_url, file, wanted, patience_s=patience_s, **ways)

    async def _ask(self, method: str, path: str, query: Mapping[str, str] | None = None, **sent: Any) -> Any:
        """The JSON of an answer, None where it is empty; `sent`: `json`, `data`, `headers`."""
        with explained(self.base_url):
            url = self._url(path)
            async with self._http.request(method, url, params=query, allow_redirects=False, **sent) as response:
                if not 200 <= response.status < 300:
                    raise await refused(response)
                if response.status == 204:
                    return None
                return await read_json(response)

    @property
    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("use the client as a context manager: async with Client(...) as client")
        return self._session

    def _url(self, path: str) -> str:
        return self.base_url + path


def _job_path(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"


def _object(wire: Any) -> Mapping[str, Any]:
    if not isinstance(wire, dict):
        raise ClientError(BAD_ANSWER, "the server answered with something else than an object; is this a btworker?")
    return wire
