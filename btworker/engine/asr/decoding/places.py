"""A lane and who sits in it. Windows in use stand at the front; one that ends leaves a hole, which the next one takes,
or the last window does where nobody waits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from btworker.engine.asr.decoding.lane import Lane, Said, Start
from btworker.engine.asr.decoding.network import KeysValues, Network
from btworker.engine.asr.decoding.requests import Decoded, Heard, LanguageRequest, TextRequest, chances
from btworker.engine.cooperate.ticket import Ticket

LOOK_AGAIN = 32
"""Tokens between two looks at a text that is not done: a multiple of the steps of any round."""


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A window whose language is asked for."""

    task: LanguageRequest
    ticket: Ticket[Heard]


@dataclass(slots=True, eq=False)
class Entry:
    """A window on its way through the decoder."""

    task: TextRequest
    ticket: Ticket[Decoded]
    features: Tensor | None = None
    """What the encoder made of it, from then until it has a place."""
    tries: int = 0
    """How many temperatures did not give an acceptable text."""
    no_speech_prob: float = 0.0

    def __post_init__(self) -> None:
        if self.task.heard:
            self.features = self.task.sound

    @property
    def is_heard(self) -> bool:
        """Whether the encoder is through with it."""
        return self.features is not None

    @property
    def temperature(self) -> float:
        """The one that is tried now."""
        return self.task.temperatures[self.tries]

    @property
    def is_last_try(self) -> bool:
        """Whether this temperature's text stands, whatever it is."""
        return self.tries + 1 == len(self.task.temperatures)

    @property
    def beams(self) -> int:
        """Rows that it needs at this temperature."""
        return self.task.beams if self.temperature == 0 else 1


class Places:
    """The places of one lane."""

    def __init__(self, lane: Lane, *, no_speech: int) -> None:
        self.lane = lane
        self._no_speech = no_speech
        self._seated: list[Entry | None] = []

    @property
    def free(self) -> int:
        """How many windows may come."""
        return self.lane.windows - len(self.seated)

    @property
    def seated(self) -> list[tuple[int, Entry]]:
        """Who sits where."""
        return [(place, entry) for place, entry in enumerate(self._seated) if entry is not None]

    def seat(self, entries: Sequence[Entry]) -> None:
        """Take in windows that were heard; there is room for them."""
        holes = [place for place, entry in enumerate(self._seated) if entry is None]
        grown = range(len(self._seated), self.lane.windows)
        chosen = [*holes, *grown][: len(entries)]
        self._seated += [None] * (max(chosen) + 1 - len(self._seated))
        network = self.lane.network
        sound = network.cross_keys_values(torch.stack([_heard(entry) for entry in entries]))
        own = self._read_starts(network, entries, sound)
        self.lane.place(chosen, sound, own)
        for place, entry in zip(chosen, entries, strict=True):
            if entry.beams == 1:  # beams that give no acceptable text go on elsewhere
                entry.features = None
            self._seated[place] = entry
            self.begin(place)

    def _read_starts(self, network: Network, entries: Sequence[Entry], sound: list[KeysValues]) -> list[KeysValues]:
        starts = [entry.task.start for entry in entries]
        longest = max(map(len, starts))
        tokens = torch.tensor([[*start, *[0] * (longest - len(start))] for start in starts], device=network.device)
        hidden, own = network.read(tokens, sound)
        at = torch.tensor([entry.task.sot for entry in entries], device=network.device)
        after_sot = network.logits(hidden[torch.arange(len(entries), device=at.device), at])
        for entry, probability in zip(entries, after_sot.softmax(-1)[:, self._no_speech].tolist(), strict=True):
            entry.no_speech_prob = probability
        return own

    def begin(self, place: int) -> None:
        """Begin with this window's text, at its present temperature."""
        entry = self._seated[place]
        assert entry is not None  # noqa: S101 - the caller knows who sits there
        task, temperature = entry.task, entry.temperature
        drawn = chances(task.seed, temperature, self.lane.samples) if temperature > 0 else None
        self.lane.restart(place, Start(task.start, task.timed, temperature, drawn))

    def leave(self, place: int) -> None:
        """This window is done with."""
        self._seated[place] = None
        self.lane.stop(place)

    def step(self, times: int) -> list[int]:
        """Some tokens more for each window; gives the places of those that are done."""
        self._close_up()
        count = len(self._seated)
        for _ in range(times):
            self.lane.step(count)
        return self.lane.finished(count)

    def half_way(self) -> list[int]:
        """Places whose texts have become longer by `LOOK_AGAIN` tokens since they were looked at last."""
        if self.lane.beams > 1:  # the best beam so far need not be the best in the end
            return []
        lengths = ((place, self.lane.reach[place] - len(entry.task.start)) for place, entry in self.seated)
        return [place for place, length in lengths if length and length % LOOK_AGAIN == 0]

    def said(self, place: int) -> Said:
        """What was said there."""
        return self.lane.said(place)

    def sound(self, places: Sequence[int]) -> list[KeysValues]:
        """The sound that lies there, (2, n, …) for each layer."""
        if len(places) == 1:
            return [kept[:, places[0] : places[0] + 1] for kept in self.lane.sound]
        at = torch.tensor(places, device=self.lane.network.device)
        return [kept[:, at] for kept in self.lane.sound]

    def _close_up(self) -> None:
        """Fill holes from the back, so that no step is made for nobody."""
        for place, entry in reversed(list(enumerate(self._seated))):
            if entry is None:
                last = len(self._seated) - 1
                if place != last:
                    self.lane.move(last, place)
                    self._seated[place] = self._seated[last]
                    self.lane.stop(last)
                self._seated.pop()


def _heard(entry: Entry) -> Any:
    assert entry.features is not None  # noqa: S101 - only those that were heard are seated
    return entry.features
