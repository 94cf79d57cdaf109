"""A lane and the windows in its places. Those in use stand at the front; one that ends leaves a hole, which the next
window takes, or the last one where none waits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from btworker.engine.asr.decoding.lane import Lane, Start
from btworker.engine.asr.decoding.layers import KeysValues
from btworker.engine.asr.decoding.network import Network
from btworker.engine.asr.decoding.requests import Decoded, Encoded, LanguageRequest, TextRequest, chances
from btworker.engine.asr.decoding.row_tokens import RowTokens
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
    tries: int = 0
    """Temperatures that gave no acceptable text."""
    no_speech_prob: float = 0.0

    def __post_init__(self) -> None:
        if self.task.is_encoded:
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
        """Rows that the window needs at this temperature."""
        return self.task.beams if self.temperature == 0 else 1


class Places:
    """The places of one lane."""

    def __init__(self, lane: Lane, *, no_speech: int) -> None:
        self.lane = lane
        self._no_speech = no_speech
        self._seated: list[TextEntry | None] = []

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
        network = self.lane.network
        sound = network.cross_keys_values(torch.stack([_features_of(entry) for entry in entries]))
        own = self._read_starts(network, entries, sound)
        self.lane.place(chosen, sound, own)
        for place, entry in zip(chosen, entries, strict=True):
            if entry.beams == 1:  # beams that give no acceptable text go on elsewhere
                entry.features = None
            self._seated[place] = entry
            self.begin(place)

    def _read_starts(self, network: Network, entries: Sequence[TextEntry], sound: list[KeysValues]) -> list[KeysValues]:
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
        self.lane.restart(place, Start(task.start, task.timed, temperature, drawn, task.terms))

    def leave(self, place: int) -> None:
        """Free a place."""
        self._seated[place] = None
        self.lane.stop(place)

    def step(self, times: int) -> list[int]:
        """Decode some tokens more for each window; return the places of those that are done."""
        self._close_up()
        count = len(self._seated)
        for _ in range(times):
            self.lane.step(count)
        return self.lane.finished(count)

    def due_for_loop_check(self) -> list[int]:
        """List the places whose texts have grown by `LOOP_CHECK_TOKENS` since they were checked last."""
        if self.lane.beams > 1:  # the best beam so far need not be the best in the end
            return []
        lengths = ((place, self.lane.reach[place] - len(entry.task.start)) for place, entry in self.seated)
        return [place for place, length in lengths if length and length % LOOP_CHECK_TOKENS == 0]

    def rows_of(self, places: Sequence[int]) -> dict[int, RowTokens]:
        """Fetch the tokens of the windows there."""
        return dict(zip(places, self.lane.rows_of(places), strict=True))

    def sound(self, places: Sequence[int]) -> list[KeysValues]:
        """Keys and values of the sound there, (2, n, …) for each layer."""
        if len(places) == 1:
            return [kept[:, places[0] : places[0] + 1] for kept in self.lane.sound]
        at = torch.tensor(places, device=self.lane.network.device)
        return [kept[:, at] for kept in self.lane.sound]

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


def _features_of(entry: TextEntry) -> Any:
    assert entry.features is not None  # noqa: S101 - only encoded windows are seated
    return entry.features
