"""Continuous batching: windows of any recording are decoded together, and a place that falls free is taken at once by
the next window that waits.

driver.py says who makes the rounds; each serves all jobs. A round encodes what is needed, fills the lanes, makes steps,
and finishes what is done: a text that cannot be believed is decoded again at the next temperature, in its place, with
the sound that is there. On a CPU windows are encoded beside the rounds, by whoever waits.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from btworker.engine.asr.decoding.beam import BeamLane
from btworker.engine.asr.decoding.driver import Driver, OwnThread, Rounds, WhoeverWaits
from btworker.engine.asr.decoding.finishing import Finishing
from btworker.engine.asr.decoding.graphs import Recording
from btworker.engine.asr.decoding.kernels.encoding import WINDOWS
from btworker.engine.asr.decoding.lane import Lane
from btworker.engine.asr.decoding.languages import Detections
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.decoding.places import LanguageEntry, Places, TextEntry, drop_canceled, taken
from btworker.engine.asr.decoding.requests import Decoded, Encoded, LanguageRequest, TextRequest
from btworker.engine.asr.decoding.rules import TokenRules, Vocabulary
from btworker.engine.asr.decoding.trie import TrieMaker
from btworker.engine.asr.spectrograms import Spectrograms, WindowSamples
from btworker.engine.cooperate.ticket import Ticket
from btworker.engine.stack.cores import Cores
from btworker.engine.stack.faults import error_of, is_short_of_memory
from btworker.engine.stack.gpu_turns import enter_thread, release_cached_memory
from btworker.logs import get_logger

log = get_logger()
STEPS_PER_ROUND = {"cuda": 4, "cpu": 1}
"""Steps before it is asked which texts are done. What is done decodes nothing until then, and until the end of the
rounds ahead; fewer steps would leave the host no time."""
ROUNDS_AHEAD = {"cuda": 1, "cpu": 0}
"""Rounds that a GPU has to do while the host looks at the one before them."""
ENCODE_BATCH = {"cuda": WINDOWS, "cpu": 1}
"""Windows to encode in one pass."""


class Decoder:
    """Decodes windows of one model, at most `batch_size` at once."""

    def __init__(
        self,
        network: Network,
        tokenizer: Any,
        *,
        batch_size: int,
        vocabulary: Vocabulary | None = None,
        recording: Recording | None = None,
        own_thread: bool | None = None,
        cores: Cores | None = None,
    ) -> None:
        """`vocabulary` is that of a checkpoint with lists of its own; None: the tokenizer's. `recording` says whether
        steps are recorded; None: where the device can. `own_thread` makes the rounds; None: on a GPU. Elsewhere those
        who wait share `cores` and encode beside the rounds; None: one of them does all at a time."""
        self._network = network
        self._cores, self._encodes_beside = cores or Cores(), cores is not None
        self._recording = recording or Recording.on(network.device)
        self._tokenizer = tokenizer
        self._rules = TokenRules(vocabulary or Vocabulary.of(tokenizer), network.dims.n_vocab, network.device)
        self.tries = TrieMaker(tokenizer, banned=self._rules.vocabulary.suppressed, size=network.dims.n_vocab)
        """Makes TextRequest.terms."""
        self._batch_size = batch_size
        self._language_queue: deque[LanguageEntry] = deque()
        self._text_queue: deque[TextEntry] = deque()
        self._lanes: dict[int, Places] = {}
        self._claiming = threading.RLock()
        """Held to choose what a thread encodes, and to make a lane."""
        has_thread = network.device.type == "cuda" if own_thread is None else own_thread
        rounds = Rounds(self._round, self._is_idle, self._encode_beside)
        self._driver: Driver = WhoeverWaits(rounds, self._cores)
        if has_thread:
            self._driver = OwnThread(rounds, enter=partial(enter_thread, network.device))
        self._spectrograms = Spectrograms(network.device)
        self._detections = Detections(network, tokenizer)
        self._finishing = Finishing(network, tokenizer, beside=self._driver.notice if has_thread else None)

    @property
    def batch_size(self) -> int:
        """Windows that are decoded at once; halved where there was no memory for them."""
        return self._batch_size

    @property
    def encode_batch(self) -> int:
        """Windows that are encoded in one pass."""
        return ENCODE_BATCH[self._network.device.type]

    @property
    def text_positions(self) -> int:
        """Most tokens of a prompt and a text together."""
        return int(self._network.dims.n_text_ctx)

    @torch.inference_mode()
    def prepare(self) -> None:
        """Make the places of greedy decoding and record their steps, before the first window comes; fewer of them where
        memory is short. Raises RuntimeError where there is none for a single one."""
        enter_thread(self._network.device)
        while not self._is_prepared():
            self._halve()

    def _is_prepared(self) -> bool:
        try:
            self._places(1).record()
        except RuntimeError as error:
            if self._batch_size == 1 or not is_short_of_memory(error):
                raise
            return False
        return True

    def drop_places(self) -> None:
        """Free the memory of all places, while nobody waits for a window; the next one makes them again."""
        self._lanes.clear()

    def detect_language(self, task: LanguageRequest) -> Ticket[Encoded]:
        """Queue a window whose language is to be detected."""
        ticket: Ticket[Encoded] = Ticket()
        self._language_queue.append(LanguageEntry(task, ticket))
        self._driver.wake()
        return ticket

    def submit(self, task: TextRequest) -> Ticket[Decoded]:
        """Queue a window whose text is wanted."""
        ticket: Ticket[Decoded] = Ticket()
        self._text_queue.append(TextEntry(task, ticket))
        self._driver.wake()
        return ticket

    def wait(self, tickets: Sequence[Ticket[Any]], *, at_most_s: float = float("inf")) -> bool:
        """Return True when one of the tickets is done, False after the given time, or after one round that takes
        longer. The tickets may be others' than the decoder's: where it has nothing to do, this waits."""
        return self._driver.wait(tickets, at_most_s=at_most_s)

    @property
    def round_s(self) -> float:
        """Seconds since a thread of its own began the round that it makes; 0 where it makes none."""
        return self._driver.round_s

    def _is_idle(self) -> bool:
        queues = self._language_queue, self._detections.entries, self._text_queue
        return not (any(queues) or self._has_seated)

    @property
    def _has_seated(self) -> bool:
        return any(places.seated for places in list(self._lanes.values()))

    @torch.inference_mode()
    def _round(self) -> bool:
        """Make one round; False where nothing has a place after it. What goes wrong in it is raised to everyone by
        their tickets, the driver among them."""
        error = error_of(self._make_round)
        if is_short_of_memory(error) and self._batch_size > 1:
            error = error_of(self._halve)
        if error is not None:
            self._fail(error)
        return self._has_seated

    def _make_round(self) -> None:
        self._forget_canceled()
        if not self._encodes_beside:
            self._encode_next()
        self._fill()
        for places in list(self._lanes.values()):
            self._step(places)
        self._detections.answer()  # once there are steps to do

    def _step(self, places: Places) -> None:
        """Make a lane's steps of a round, and finish what is done. Each step of beams is looked at anyway, so that none
        is made of a window whose text is as long as it may be."""
        kind, has_beams = self._network.device.type, places.lane.beams > 1
        steps, ahead = STEPS_PER_ROUND[kind], 0 if has_beams else ROUNDS_AHEAD[kind]
        for _ in range(steps if has_beams else 1):
            if places.seated:
                with self._cores.of_use(len(places.seated) * places.lane.beams):
                    places.step(1 if has_beams else steps)
                for outcome in places.outcomes(ahead=ahead):
                    self._text_queue.extendleft(self._finishing.finish(places, outcome))

    def _clear(self) -> list[TextEntry]:
        """Forget all windows on their way and return them."""
        on_their_way = [entry for lane in self._lanes.values() for _, entry in lane.seated]
        self._lanes.clear()
        return [*on_their_way, *taken(self._text_queue)]

    def _fail(self, error: BaseException) -> None:
        """Fail all windows on their way, of every job: what the lanes hold cannot be trusted any more."""
        on_their_way: list[LanguageEntry | TextEntry]
        on_their_way = [*self._detections.entries, *taken(self._language_queue), *self._clear()]
        self._detections.forget()
        for entry in on_their_way:
            entry.ticket.fail(error)

    def _halve(self) -> None:
        """Begin again with half as many places, for good. Raises RuntimeError where no memory can be given back."""
        self._batch_size //= 2
        entries = [TextEntry(entry.task, entry.ticket, tries=entry.tries) for entry in self._clear()]
        self._text_queue.extend(entries)  # before anything can go wrong: they are on their way
        release_cached_memory()
        log.warning("batch_halved", batchSize=self._batch_size)

    def _forget_canceled(self) -> None:
        with self._claiming:
            drop_canceled(self._language_queue)
            drop_canceled(self._text_queue)
        for places in self._lanes.values():
            for _, entry in places.seated:
                if entry.ticket.canceled:
                    places.leave(entry)

    def _encode_next(self) -> None:
        """Encode windows for their languages, and the next ones for texts where none is ready for a free place."""
        at_once = self.encode_batch
        while asked := list(islice(self._language_queue, at_once)):
            self._detections.begin(asked, self._encode([entry.task.mel for entry in asked]))
            for _ in asked:  # which stay in the queue until nothing can go wrong with them
                self._language_queue.popleft()
        if self._text_queue and not self._text_queue[0].is_encoded and self._places(self._text_queue[0].beams).free:
            next_ones = [entry for entry in list(self._text_queue) if not entry.is_encoded][:at_once]
            encoded = self._encode([entry.task.sound for entry in next_ones])
            for text, features in zip(next_ones, encoded, strict=True):
                text.features = features

    @torch.inference_mode()
    def _encode_beside(self) -> bool:
        """Encode the next window that no other thread encodes; False where there is none. What goes wrong is that
        window's alone."""
        entry = self._claim() if self._encodes_beside else None
        if entry is None:
            return False
        error = error_of(partial(self._encode_claimed, entry))
        if error is not None:
            entry.ticket.fail(error)
            entry.ticket.cancel()  # the next round forgets it
        return True

    def _claim(self) -> LanguageEntry | TextEntry | None:
        """Choose what to encode next: a window whose language is wanted, else one for which a place will be free."""
        with self._claiming:
            if self._language_queue:
                return self._language_queue.popleft()
            for before, entry in enumerate(list(self._text_queue)):
                if not (entry.is_encoded or entry.is_claimed):
                    if before >= self._places(entry.beams).free:  # by those that are seated before it
                        return None
                    entry.is_claimed = True
                    return entry
            return None

    def _encode_claimed(self, entry: LanguageEntry | TextEntry) -> None:
        if isinstance(entry, TextEntry):
            (entry.features,) = self._encode([entry.task.sound])
            return
        detections = Detections(self._network, self._tokenizer)
        detections.begin([entry], self._encode([entry.task.mel]))
        detections.answer()

    def _encode(self, windows: Sequence[Tensor | WindowSamples]) -> Tensor:
        mel = torch.stack(self._spectrograms.of(windows))
        return self._network.encode(mel.to(self._network.device, self._network.dtype))

    def _fill(self) -> None:
        """Seat encoded windows, in the order in which they came, until a lane is full."""
        while self._text_queue and self._text_queue[0].is_encoded:
            places = self._places(self._text_queue[0].beams)
            group = self._next_of(places, min(places.free, self.encode_batch))
            if not group:
                return
            places.seat(group)

    def _next_of(self, places: Places, most: int) -> list[TextEntry]:
        """Take the encoded windows at the head of the queue that belong there."""
        group: list[TextEntry] = []
        while len(group) < most and self._text_queue:
            entry = self._text_queue[0]
            if not entry.is_encoded or entry.beams != places.lane.beams:
                break
            group.append(self._text_queue.popleft())
        return group

    def _places(self, beams: int) -> Places:
        with self._claiming:
            if beams not in self._lanes:
                windows = max(1, self._batch_size // beams)
                kind: Callable[..., Lane] = Lane if beams == 1 else BeamLane
                lane = kind(self._network, self._rules, windows=windows, beams=beams, recording=self._recording)
                self._lanes[beams] = Places(lane)
            return self._lanes[beams]
