"""What jobs are found by: the names of their inputs, their text, and what people corrected. Parent.

    a job is stored --> store: the names of its inputs, with its row
    it ends         --> SearchIndex.run --> store: all its words, a moment later, beside all other work

A job whose words are not there yet is one that the store lists, so that a crash, or a table of an earlier release,
costs no word.
"""

import asyncio
import sqlite3

from btworker.config import Settings
from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import Job
from btworker.logs import get_logger
from btworker.outputs import read_text
from btworker.storage import DataFolder
from btworker.store import Store, is_disk_trouble
from btworker.store.text import Indexed, names_of

log = get_logger()
Words = tuple[str, ...]
BATCH = 20
"""Jobs whose words are stored in one transaction."""
GATHER_S = 0.25
"""Seconds from a change to the look at the table: jobs that change together cost one, and those that end together one
transaction."""
RETRY_S = 5.0
MAX_QUERY_CHARS = 200


def search_words(query: str) -> Words:
    """The words that are looked for, each of which has to begin a word of the job. Raises BAD_REQUEST."""
    shown = "".join(c if c.isprintable() else " " for c in query)
    words = tuple(word for word in shown.split() if any(c.isalnum() for c in word))
    if not words or len(query) > MAX_QUERY_CHARS:
        message = f"q must have a letter or a digit, and at most {MAX_QUERY_CHARS} characters"
        raise BtworkerError(ErrorCode.BAD_REQUEST, message, param="q")
    return words


class SearchIndex:
    """Keeps the words of all jobs."""

    def __init__(self, store: Store, data: DataFolder, settings: Settings) -> None:
        self._store = store
        self._data = data
        self._has_text = settings.search_text
        self._changed = asyncio.Event()

    def wake(self) -> None:
        """A job has changed, and may have ended."""
        self._changed.set()

    async def run(self) -> None:
        """Store words as they come, for ever."""
        while True:
            try:
                while await self._index_some():
                    pass
                await self._changed.wait()
                await asyncio.sleep(GATHER_S)
                self._changed.clear()
            except sqlite3.OperationalError as error:
                if not is_disk_trouble(error):
                    raise
                log.warning("search_index_waits_for_disk", detail=str(error))
                await asyncio.sleep(RETRY_S)

    async def _index_some(self) -> bool:
        """Index the jobs that wait for it, as many as one transaction takes; False where there are none."""
        waiting = await self._store.to_index(BATCH)
        if waiting:
            await self._store.index(await self._data.run(lambda: [self._words_of(*one) for one in waiting]))
        return bool(waiting)

    def _words_of(self, seq: int, job: Job) -> Indexed:
        """Blocking."""
        texts = []
        if self._has_text and job.status.finished and job.outputs:
            folder = self._data.folder(job.id)
            texts = [read_text(folder.transcript(index)) for index in range(len(job.inputs))]
        return Indexed(seq, names_of(job), "\n".join(texts), is_final=job.status.finished)
