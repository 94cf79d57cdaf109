"""A lane and the windows in its places. Those in use stand at the front; one that ends leaves a hole, which the next
window takes, or the last one where none waits.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from btworker.engine.asr.decoding.aligning import Aligning
from btworker.engine.asr.decoding.alignment import Attention, Text, attend
from btworker.engine.asr.decoding.lane import Lane
from btworker.engine.asr.decoding.layers import KeysValues
from btworker.engine.asr.decoding.memory import send
from btworker.engine.asr.decoding.requests import Decoded, Encoded, LanguageRequest, TextRequest, chances
from btworker.engine.asr.decoding.row_tokens import RowsOfRound, RowTokens
from btworker.engine.asr.decoding.seating import Start
from btworker.engine.cooperate.ticket import Ticket

LOOP_CHECK_TOKENS = 32
"""Tokens between two checks whether an unfinished text loops: a multiple of the steps of any round."""


@dataclass(frozen=True, slots=True, eq=False)
class LanguageEntry:
    """A window whose language is being detected."""

    task: LanguageRequest
    ticket: Ticket[Encoded]


@dataclass(slots=True, eq=False)
class TextEntry:
    """A window whose text is being decoded."""

    task: TextRequest
    ticket: Ticket[Decoded]
    features: Tensor | None = None
    """Encoded window, until it has a place."""
    is_claimed: bool = False
    """Whether a thread encodes it."""
    tries: int = 0
    """Temperatures that gave no acceptable text."""

    def __post_init__(self) -> None:
        if self.task.is_encoded and isinstance(self.task.sound, Tensor):
            self.features = self.task.sound

    @property
    def is_encoded(self) -> bool:
        """Whether the window went through the encoder."""
        return self.features is not None

    @property
    def temperature(self) -> float:
        """Temperature that is tried now."""
        return self.task.temperatures[self.tries]

    @property
    def is_last_try(self) -> bool:
        """Whether this temperature's text stands, whatever it is."""
        return self.tries + 1 == len(self.task.temperatures)

    @property
    def beams(self) -> int:
        """Rows that the window needs at this temperature: with terms one more, so that none that has only begun takes a
        beam's place."""
        asked = self.task.beams if self.temperature == 0 else 1
        return asked + 1 if asked > 1 and self.task.terms is not None else asked

    @property
    def may_be_hopeless(self) -> bool:
        """Whether it is asked if the text loops: it would go on to its limit, and then be decoded again."""
        return self.task.hopeless is not None and not self.is_last_try


Entry = TypeVar("Entry", LanguageEntry, TextEntry)


@dataclass(frozen=True, slots=True)
class Round:
    """Steps that are made of a lane's windows, or will be, and how these stand after them."""

    texts: tuple[tuple[TextEntry, int], ...]
    """(entry, number of its try) by place."""
    due: tuple[int, ...]
    """Places whose texts may loop."""
    rows: RowsOfRound


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a round brought to windows that were not given up or begun anew since."""

    done: dict[TextEntry, RowTokens]
    """Their texts are at their end."""
    due: dict[TextEntry, RowTokens]
    """Their texts may loop."""


class Places:
    """The places of one lane."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        end = lane.rules.vocabulary.end
        self._aligning = Aligning.where_it_can(lane.network, lane.graphs, windows=lane.windows, end=end)
        self._seated: list[TextEntry | None] = []
        self._rounds: deque[Round] = deque()
        """Those whose outcome nobody has seen, in their order."""

    def record(self) -> None:
        """Record what is done to windows, of all sizes."""
        self.lane.record()
        if self._aligning is not None:
            self._aligning.record(self.lane.sound)

    @property
    def free(self) -> int:
        """Windows that may come."""
        return self.lane.windows - len(self.seated)

    @property
    def seated(self) -> list[tuple[int, TextEntry]]:
        """(place, entry) of each window."""
        return [(place, entry) for place, entry in enumerate(self._seated) if entry is not None]

    def seat(self, entries: Sequence[TextEntry]) -> None:
        """Take in encoded windows; there is room for them."""
        holes = [place for place, entry in enumerate(self._seated) if entry is None]
        grown = range(len(self._seated), self.lane.windows)
        chosen = [*holes, *grown][: len(entries)]
        self._seated += [None] * (max(chosen) + 1 - len(self._seated))
        for place, entry in zip(chosen, entries, strict=True):  # before anything can go wrong: they are on their way
            self._seated[place] = entry
        self.lane.seat(chosen, [_features_of(entry) for entry in entries], [self._start(entry) for entry in entries])
        for entry in entries:
            if entry.beams == 1:  # beams that give no acceptable text go on elsewhere
                entry.features = None

    def begin(self, entry: TextEntry) -> None:
        """Begin anew with a window's text, at its present temperature."""
        self.lane.restart([self.place_of(entry)], [self._start(entry)])

    def _start(self, entry: TextEntry) -> Start:
        task, temperature = entry.task, entry.temperature
        drawn = chances(task.seed, temperature, self.lane.samples) if temperature > 0 else None
        return Start(task.start, task.timed, temperature, drawn, task.terms, task.sot)

    def place_of(self, entry: TextEntry) -> int:
        """Find where a window sits."""
        return self._seated.index(entry)

    def leave(self, entry: TextEntry) -> None:
        """Free a window's place."""
        place = self.place_of(entry)
        self._seated[place] = None
        self.lane.stop(place)

    def step(self, times: int) -> None:
        """Make a round: decode some tokens more for each window."""
        self._close_up()
        count = len(self._seated)
        for _ in range(times):
            self.lane.step(count)
        due = self._due_for_loop_check()
        texts = tuple((entry, entry.tries) for _, entry in self.seated)
        self._rounds.append(Round(texts, due, self.lane.fetch_rows(count, anyway=bool(due))))

    def outcomes(self, *, ahead: int) -> Iterator[Outcome]:
        """Yield what came of all rounds but the last `ahead` ones; waits for the device to have made them."""
        while len(self._rounds) > ahead:
            made = self._rounds.popleft()
            there = {entry for _, entry in self.seated}
            texts = {
                place: entry
                for place, (entry, tries) in enumerate(made.texts)
                if entry in there and entry.tries == tries
            }
            done = [place for place in made.rows.finished if place in texts]
            due = [place for place in made.due if place in texts and place not in done]
            yield Outcome(*({texts[place]: made.rows.row(place) for place in some} for some in (done, due)))
        if not self.seated:
            self._rounds.clear()

    def _due_for_loop_check(self) -> tuple[int, ...]:
        """List the places whose texts have grown by `LOOP_CHECK_TOKENS` since they were checked last, and may loop."""
        if self.lane.beams > 1:  # the best beam so far need not be the best in the end
            return ()
        asked = ((place, entry) for place, entry in self.seated if entry.may_be_hopeless)
        lengths = ((place, self.lane.reach[place] - len(entry.task.start)) for place, entry in asked)
        return tuple(place for place, length in lengths if length and length % LOOP_CHECK_TOKENS == 0)

    def attend(self, texts: Sequence[tuple[TextEntry, Text]]) -> list[Attention]:
        """Read texts beside the sound of their windows, to find when each word is spoken."""
        places, lane = [self.place_of(entry) for entry, _ in texts], self.lane
        asked = [text for _, text in texts]
        recorded = None if self._aligning is None else self._aligning.attend(lane.sound, places, asked)
        return recorded or attend(lane.network, asked, self._sound(places), end=lane.rules.vocabulary.end)

    def _sound(self, places: Sequence[int]) -> Iterator[KeysValues]:
        """Keys and values of the sound there, (2, n, …) for each layer."""
        network, only = self.lane.network, slice(places[0], places[0] + 1)
        at = only if len(places) == 1 else send(torch.tensor(places), network.device)
        for kept in self.lane.sound:
            yield kept.of(at, network.dtype)

    def _close_up(self) -> None:
        """Fill holes from the back, so that no step is made for an empty place."""
        for place, entry in reversed(list(enumerate(self._seated))):
            if entry is None:
                last = len(self._seated) - 1
                if place != last:
                    self.lane.move(last, place)
                    self._seated[place] = self._seated[last]
                    self.lane.stop(last)
                self._seated.pop()


def _features_of(entry: TextEntry) -> Tensor:
    assert entry.features is not None  # noqa: S101 - only encoded windows are seated
    return entry.features


def taken(queue: deque[Entry]) -> list[Entry]:
    """Take all out of a queue, one by one: other jobs may be adding to it, and who encodes may take some."""
    found: list[Entry] = []
    with suppress(IndexError):
        found.extend(queue.popleft() for _ in range(len(queue)))
    return found


def drop_canceled(queue: deque[LanguageEntry] | deque[TextEntry]) -> None:
    """Drop them in place, entry by entry: other jobs may be adding to the queue."""
    for _ in range(len(queue)):
        if queue[0].ticket.canceled:
            queue.popleft()
        else:
            queue.rotate(-1)
