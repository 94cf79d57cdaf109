"""GET /v1/jobs/{id}/events: a job as server-sent events, from its first segment to its end. Parent.

event: status     the whole job, whenever its status or stage changes, or what it waits for
event: progress   percent, seconds of audio, ETA
event: segment    id: <input>:<end in ms>, which Last-Event-ID gives back after a broken line
event: done       the whole job, once it has ended; the last one
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from btworker.errors import BtworkerError, ErrorCode
from btworker.service.live import Feed, Spoken
from btworker.web.context import Context, context_of
from btworker.web.jobs.handlers import job_id_of, to_wire

STREAM_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
RETRY_MS = 2000
"""How long a browser waits before it comes back."""
_EVENT_ID = re.compile(r"([0-9]{1,6}):([0-9]{1,12})")


@dataclass(slots=True)
class Listener:
    """What one client was sent."""

    context: Context
    last: tuple[int, int]
    """Input and milliseconds of the last segment that it has."""
    state: tuple[str, ...] = ()
    progress: str = ""
    seen: int = 0
    """Segments of the feed that were looked at."""

    def news(self, feed: Feed) -> Iterator[str]:
        """Events for what is new."""
        job = feed.job
        whole, progress = self._payloads(feed)
        state = (job.status.value, job.stage.value, feed.awaited)
        if state != self.state and not feed.over:
            self.state = state
            yield _event("status", whole)
        if progress != self.progress and not feed.over:
            self.progress = progress
            yield _event("progress", progress)
        for spoken in feed.segments[self.seen :]:
            if (place := _place(spoken)) > self.last:
                self.last = place
                yield _event("segment", _segment(spoken), event_id=f"{place[0]}:{place[1]}")
        self.seen = len(feed.segments)
        if feed.over:
            yield _event("done", whole)

    def _payloads(self, feed: Feed) -> tuple[str, str]:
        """The job and its progress as JSON, made once for all listeners of this state."""
        if not feed.payloads:
            whole = to_wire(self.context, feed.job)
            progress = {**whole.progress.model_dump(by_alias=True), "etaSeconds": whole.eta_seconds}
            feed.payloads |= {"job": whole.to_json(), "progress": json.dumps(progress)}
        return feed.payloads["job"], feed.payloads["progress"]


async def events(request: web.Request) -> web.StreamResponse:
    """Handler. Raises NOT_FOUND, BAD_REQUEST."""
    context = context_of(request)
    job = await context.service.get(job_id_of(request))
    listener = Listener(context, _last_event(request))
    response = web.StreamResponse(headers=STREAM_HEADERS)
    await response.prepare(request)
    await response.write(f"retry: {RETRY_MS}\n\n".encode())
    feeds = context.feeds.subscribe(job)
    try:
        async for feed in feeds:
            text = "".join(listener.news(feed)) or ": still here\n\n"
            await response.write(text.encode())
    finally:
        await feeds.aclose()
    await response.write_eof()
    return response


def _event(name: str, data: str, *, event_id: str | None = None) -> str:
    head = f"event: {name}\n" + (f"id: {event_id}\n" if event_id else "")
    return f"{head}data: {data}\n\n"


def _segment(spoken: Spoken) -> str:
    shape: dict[str, Any] = {
        "inputIndex": spoken.input_index,
        "start": spoken.start,
        "end": spoken.end,
        "text": spoken.text.strip(),
    }
    whose = {"speaker": spoken.speaker, "channel": spoken.channel}
    return json.dumps({**shape, **{k: v for k, v in whose.items() if v is not None}}, ensure_ascii=False)


def _place(spoken: Spoken) -> tuple[int, int]:
    return spoken.input_index, round(spoken.end * 1000)


def _last_event(request: web.Request) -> tuple[int, int]:
    raw = request.headers.get("Last-Event-ID") or request.query.get("lastEventId")
    if not raw:
        return -1, 0
    match = _EVENT_ID.fullmatch(raw)
    if match is None:
        message = "Last-Event-ID must be the id of an event that this worker sent"
        raise BtworkerError(ErrorCode.BAD_REQUEST, message, param="Last-Event-ID")
    return int(match[1]), int(match[2])
