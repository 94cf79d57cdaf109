"""stream=true of the OpenAI audio API: the text as it is recognized, as server-sent events. Parent.

    data: {"type": "transcript.text.delta", …}      each window's text, once it is done
    data: {"type": "transcript.text.segment", …}    at the end, where speakers are asked for: only then are they known
    data: {"type": "transcript.text.done", …}       the whole text: its deltas joined
    data: [DONE]

The windows come from service/live.py, as for /v1/jobs/{id}/events.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from aiohttp import web

from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import Job
from btworker.logprobs import TokenLogprob
from btworker.service.live import Feed
from btworker.transcript import Transcript
from btworker.web.context import Context
from btworker.web.jobs.events import STREAM_HEADERS
from btworker.web.middlewares import error_response
from btworker.web.openai.results import from_transcript, refusal
from btworker.web.openai.shapes import Reports, last_events, text_delta

TORN = "\N{REPLACEMENT CHARACTER}"
"""What half of a sign looks like."""


class GrowingText:
    """The text of one stream: whatever happens, all pieces joined are the text that it ends with."""

    def __init__(self) -> None:
        self._emitted: list[str] = []
        self._ahead = ""
        """Received, but not emitted yet."""
        self._waits_for_end = False

    def take(self, segments: Iterable[str]) -> str:
        """The piece to emit after these segments, as whisper spaces them; often nothing.

        White space at the end waits for what follows: the whole text has none there. A segment that begins or ends with
        half a sign is read again in the whole, where both halves are one.
        """
        settled = ""
        for text in segments:
            torn = text.strip().startswith(TORN) or text.strip().endswith(TORN)
            if torn and not self._waits_for_end:
                settled, self._ahead, self._waits_for_end = self._ahead, "", True
            self._ahead += text
        if not self._waits_for_end:
            settled, self._ahead = self._ahead, ""
        return self._emit(settled, keep_space=True)

    def finish(self, whole: str) -> str:
        """The last piece, so that all of them are the stored text; should that begin otherwise, what was held back."""
        emitted = self.text
        return self._emit(
            whole[len(emitted) :] if whole.startswith(emitted) else self._ahead.rstrip(), keep_space=False
        )

    @property
    def text(self) -> str:
        """All that was emitted."""
        return "".join(self._emitted)

    def _emit(self, chunk: str, *, keep_space: bool) -> str:
        """Without white space at the beginning of all; that at the end goes back to what is ahead."""
        piece = chunk if self._emitted else chunk.lstrip()
        if keep_space:
            bare = piece.rstrip()
            self._ahead = piece[len(bare) :] + self._ahead
            piece = bare
        if piece:
            self._emitted.append(piece)
        return piece


async def stream(
    request: web.Request, context: Context, job: Job, reports: Reports, *, speakers: bool, headers: Mapping[str, str]
) -> web.StreamResponse:
    """The answer to a request with stream=true, up to the job's end; comments where there is nothing to say."""
    response = web.StreamResponse(headers={**STREAM_HEADERS, **headers})
    await response.prepare(request)
    text, seen, now = GrowingText(), 0, job
    tokens: list[TokenLogprob] = []
    feeds = context.feeds.subscribe(job)
    try:
        async for feed in feeds:
            piece = text.take(spoken.text for spoken in feed.segments[seen:])
            tokens += [token for spoken in feed.segments[seen:] for token in spoken.logprobs]
            seen, now = len(feed.segments), feed.job
            await response.write(_data(text_delta(piece, tokens)) if piece else _no_text_yet(feed, context))
            if piece:
                tokens = []
    finally:
        await feeds.aclose()
    await response.write(await _end(context, now, text, tokens, Ending(reports, speakers)))
    await response.write_eof()
    return response


@dataclass(frozen=True, slots=True)
class Ending:
    """What the last events of a stream have."""

    reports: Reports
    speakers: bool


async def _end(context: Context, job: Job, text: GrowingText, tokens: Sequence[TokenLogprob], ending: Ending) -> bytes:
    """What follows the text of a job that has ended; an error where it has no result, or none yet."""

    def events(transcript: Transcript) -> bytes:
        piece = text.finish(transcript.text.strip())
        last = last_events(transcript, ending.reports, text=text.text, speakers=ending.speakers)
        return b"".join(map(_data, [*([text_delta(piece, tokens)] if piece else []), *last]))

    if not job.status.finished:  # the worker stops, and the job goes on with its next start
        message = "the worker is shutting down; the same request gets the result once it is back"
        body = _error(error_response(ErrorCode.DRAINING, message))
    elif (refused := refusal(job)) is not None:
        body = _error(refused)
    else:
        try:
            body = await from_transcript(context, job, events)
        except BtworkerError as error:  # the headers are out: it is sent as an event
            body = _error(error_response(error.code, error.message))
    return body + b"data: [DONE]\n\n"


def _no_text_yet(feed: Feed, context: Context) -> bytes:
    """A comment, which clients skip and people read: what the job waits for, where it does, and how long it is likely
    to take."""
    outlook = context.service.outlooks.of(feed.job)
    words, happens, left_s = "the job goes on", "end", outlook.ends_in_s
    if feed.awaited:
        words, happens, left_s = f"waiting for {feed.awaited}", "start", outlook.starts_in_s
    about = "" if left_s is None else f", likely to {happens} in {math.ceil(left_s)} s"
    return f": {' '.join(words.split())}{about}\n\n".encode("utf-8", "replace")


def _data(event: Mapping[str, object]) -> bytes:
    return f"data: {json.dumps(event, ensure_ascii=False)}\n\n".encode("utf-8", "replace")


def _error(response: web.Response) -> bytes:
    return f"data: {response.text}\n\n".encode()
