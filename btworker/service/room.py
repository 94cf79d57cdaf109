"""How much of the disk the accepted work takes at worst, while it goes on: what uploads have to leave free. Parent."""

import heapq

from btworker.config import Settings
from btworker.pool import Pool
from btworker.service.table import JobTable


class Room:
    """See the module's docstring."""

    def __init__(self, table: JobTable, pool: Pool, settings: Settings) -> None:
        self._table = table
        self._pool = pool
        self._settings = settings

    def decoding_bytes(self, largest_bytes: int) -> int:
        """Scratch room that decoding takes at worst, once an input of this size is accepted as well.

        Every slot decodes one input at a time: at worst, the largest ones at once; a place for clips decodes a clip.
        The boxes of a fleet decode elsewhere.
        """
        if self._settings.pool != "local":
            return 0
        slots, clips = self._pool.slots, sum(worker.clip_slots for worker in self._pool.workers())
        sizes = (largest_bytes, *self._table.live.largest_bytes(slots))
        return sum(map(self._settings.decoded_bytes, heapq.nlargest(slots, sizes))) + clips * self._settings.clip_bytes

    def rendition_bytes(self, all_bytes: int) -> int:
        """Room that renditions take at worst, once inputs of so many bytes together are accepted as well.

        A job's inputs go when its renditions stay, and are larger: so only jobs at work need room for both, where
        inputs are not kept.
        """
        if self._settings.keep_inputs:
            return self._table.live.rendition_bytes + self._settings.rendition_bytes(all_bytes)
        sizes = (all_bytes, *self._table.live.largest_jobs_bytes(self._pool.slots))
        return sum(map(self._settings.rendition_bytes, heapq.nlargest(self._pool.slots, sizes)))
