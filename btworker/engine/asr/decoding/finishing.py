"""What becomes of windows whose text is at its end: it is answered, with the times of its words where those are wanted,
or decoded again at the next temperature where it cannot be believed.
"""

import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import torch
from whisper.utils import compression_ratio

from btworker.engine.asr.decoding.alignment import Alignment, Attention, Text
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.decoding.places import Outcome, Places, TextEntry
from btworker.engine.asr.decoding.requests import Decoded
from btworker.engine.asr.decoding.row_tokens import RowTokens
from btworker.engine.cooperate.ticket import Ticket
from btworker.errors import BtworkerError, ErrorCode

ALIGN_BATCH = 8
"""Windows to align in one pass: where it is not known which heads follow the sound, one takes 400 MB."""

WARPING_THREADS = 4
"""Threads that find the times of words: each window takes one of them 2 ms."""


class Finishing:
    """The end of the windows of one model."""

    def __init__(self, network: Network, tokenizer: Any, *, beside: Callable[[], None] | None = None) -> None:
        """`beside`: times of words are found in threads beside the rounds, which call it when a ticket is done."""
        self._network = network
        self._tokenizer = tokenizer
        self._beside = beside
        self._threads = ThreadPoolExecutor(WARPING_THREADS, thread_name_prefix="word-times") if beside else None

    def finish(self, places: Places, outcome: Outcome) -> list[TextEntry]:
        """Answer what is acceptable, or the last try; decode the others again. Return those that go on in another lane,
        the one for samples."""
        accepted: list[tuple[TextEntry, Decoded, Text | None]] = []
        again: list[TextEntry] = []
        for entry, row in outcome.done.items():
            decoded = self._decoded(entry, row)
            if not math.isfinite(decoded.avg_logprob):
                places.leave(entry)
                entry.ticket.fail(not_finite(self._network.device))
            elif entry.is_last_try or not entry.task.unacceptable(decoded):
                accepted.append((entry, decoded, entry.task.to_align(decoded)))
            else:
                again.append(entry)
        for entry, row in outcome.due.items():
            hopeless = entry.task.hopeless
            if hopeless is not None and hopeless(self._tokenizer.decode(list(row.tokens))):
                again.append(entry)
        self._answer(places, accepted)
        return [leaving for entry in again for leaving in _again(entry, places)]

    def _decoded(self, entry: TextEntry, row: RowTokens) -> Decoded:
        text = self._tokenizer.decode(list(row.tokens)).strip()
        return Decoded(
            tokens=row.tokens,
            text=text,
            avg_logprob=row.sum_logprob / (len(row.tokens) + 1),
            no_speech_prob=row.no_speech_prob,
            temperature=entry.temperature,
            compression_ratio=compression_ratio(text),
            logprobs=row.logprobs,
        )

    def _answer(self, places: Places, accepted: list[tuple[TextEntry, Decoded, Text | None]]) -> None:
        aligning = [(entry, text) for entry, _, text in accepted if text is not None]
        attentions: dict[TextEntry, Attention] = {}
        for first in range(0, len(aligning), ALIGN_BATCH):
            group = aligning[first : first + ALIGN_BATCH]
            attentions.update(zip([entry for entry, _ in group], places.attend(group), strict=True))
        for entry, decoded, _ in accepted:
            self._resolve(entry.ticket, decoded, attentions.get(entry))
            places.leave(entry)  # not before: what fails until then fails for it, too

    def _resolve(self, ticket: Ticket[Decoded], decoded: Decoded, attention: Attention | None) -> None:
        """Give the answer, with the times of its words: on a GPU as soon as a thread beside the rounds has them."""
        if attention is None:
            ticket.resolve(decoded)
        elif self._threads is None:
            ticket.resolve(decoded.aligned(attention.alignment()))
        else:
            self._threads.submit(attention.alignment).add_done_callback(partial(self._times_are_there, ticket, decoded))

    def _times_are_there(self, ticket: Ticket[Decoded], decoded: Decoded, times: Future[Alignment]) -> None:
        error = times.exception()
        if error is None:
            ticket.resolve(decoded.aligned(times.result()))
        else:
            ticket.fail(error)
        if self._beside is not None:
            self._beside()


def _again(entry: TextEntry, places: Places) -> list[TextEntry]:
    """Try the next temperature: in its place, or, from the beams' lane, as what is returned."""
    beams = entry.beams
    entry.tries += 1
    if entry.beams == beams:
        places.begin(entry)
        return []
    places.leave(entry)
    return [entry]


def not_finite(device: torch.device) -> BtworkerError:
    """Make the error of a window whose text nobody should see: no temperature would give a better one."""
    on_gpu = device.type == "cuda"
    return BtworkerError(
        ErrorCode.GPU_ERROR if on_gpu else ErrorCode.PROCESSING_ERROR,
        "what the model computed of a window is no number (NaN): its checkpoint is damaged, or "
        + ("the GPU" if on_gpu else "this machine")
        + " computes wrongly; try again, or ask for another model",
    )
