"""The parts of long recordings that boxes decode for another one: who has which. Front end's loop; web/fleet/sharing.py
brings what the boxes say.

    owner                              here                                helper
    lends parts that nobody has  --->  lent  --take--------------------->  has their sound, decodes them
    reads their texts            <---  decoded  <-------------------texts
    decodes them itself          <---  returned  <--- its end, at any time

A part is lent where a helper waits for one. What is asked here waits for a while for an answer (NotYetError).
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from btworker.fleet.files import NotYetError
from btworker.jobs import JobId

T = TypeVar("T")
ANSWER_S = 20.0
"""Seconds after which a box has to ask again."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A file of a part that is here."""

    size_bytes: int
    sha256: str


@dataclass(slots=True)
class _Part:
    """One that is lent."""

    sound: Kept
    helper: int = 0
    """Number of the help that has it."""
    texts: Kept | None = None
    is_returned: bool = False


@dataclass(frozen=True, slots=True)
class Lent:
    """What the owner gets."""

    wants_more: bool
    decoded: Mapping[int, Kept]
    returned: tuple[int, ...]


@dataclass(slots=True)
class Share:
    """One recording, or a take of it, of one attempt."""

    is_over: bool = False
    """A helper failed, perhaps for the recording's sake: none is to help any more."""
    is_gone: bool = False
    """Its attempt is over."""
    is_whole: bool = False
    """The owner has no part left that it could lend."""
    plan: Mapping[str, Any] = field(default_factory=dict)
    """The owner's plan.json (btworker/shared_windows.py)."""
    declined: set[str] = field(default_factory=set)
    """Boxes that cannot help."""
    helpers: set[str] = field(default_factory=set)
    """Boxes that help, or did."""
    waiting: set[int] = field(default_factory=set)
    """Helps that wait for a part."""
    parts: dict[int, _Part] = field(default_factory=dict)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def lend(self, sounds: Mapping[int, Kept], plan: Mapping[str, Any], *, is_whole: bool) -> Lent:
        """Take in which parts the owner lends, all of them; return what it is to do. Raises NotYetError."""
        for number in self.parts.keys() - sounds.keys():
            del self.parts[number]  # the owner has seen what became of it
        for number, sound in sounds.items():
            self.parts.setdefault(number, _Part(sound))
        self.is_whole, self.plan = is_whole, plan
        self._change()
        return await self._until(self._for_owner)

    async def take(self, helper: int, has: Collection[int]) -> tuple[int, Kept] | None:
        """Give a help one more part than it has, and its sound; None where there will be none. Raises NotYetError."""
        self.waiting.add(helper)
        self._change()
        try:
            found = await self._until(lambda: self._for_helper(helper, has))
        finally:
            self.waiting.discard(helper)
        return found[0]

    def wants_help_of(self, box: str) -> bool:
        """Whether this box could be of use."""
        return not (self.is_over or self.is_whole or box in self.declined)

    def is_taken(self, number: int, helper: int) -> bool:
        """Whether a help has this part."""
        part = self.parts.get(number)
        return part is not None and part.helper == helper and not part.is_returned

    def note_decoded(self, number: int, helper: int, texts: Kept) -> None:
        """The texts of a part are here."""
        if self.is_taken(number, helper):
            self.parts[number].texts = texts
            self._change()

    def end_help(self, helper: int, *, others: bool) -> None:
        """A help is over: the owner gets back what it has not decoded; without `others` also what no help has."""
        self.waiting.discard(helper)
        for part in self.parts.values():
            is_left = part.helper == helper or (part.helper == 0 and not others)
            part.is_returned = part.is_returned or (is_left and part.texts is None)
        self._change()

    def close(self) -> None:
        """Let nobody help any more."""
        self.is_over = True
        self._change()

    def leave(self) -> None:
        """Let nobody wait here any more: who asks again gets the reason."""
        self.is_gone = True
        self._change()

    def _for_owner(self) -> Lent | None:
        free = sum(part.helper == 0 and not part.is_returned for part in self.parts.values())
        decoded = {number: part.texts for number, part in self.parts.items() if part.texts is not None}
        returned = tuple(number for number, part in self.parts.items() if part.is_returned)
        wants_more = not self.is_whole and not self.is_over and len(self.waiting) > free
        return Lent(wants_more, decoded, returned) if wants_more or decoded or returned else None

    def _for_helper(self, helper: int, has: Collection[int]) -> tuple[tuple[int, Kept] | None, None] | None:
        """A pair, so that "there will be none" is an answer."""
        for number, part in self.parts.items():
            if part.texts is None and not part.is_returned and part.helper in (0, helper) and number not in has:
                part.helper = helper
                return (number, part.sound), None
        return (None, None) if self.is_whole or self.is_over else None

    async def _until(self, find: Callable[[], T | None]) -> T:
        end = asyncio.get_running_loop().time() + ANSWER_S
        while (found := find()) is None:
            left_s = 0.0 if self.is_gone else end - asyncio.get_running_loop().time()
            try:
                await asyncio.wait_for(self.changed.wait(), left_s)
            except asyncio.TimeoutError:
                raise NotYetError from None
        return found

    def _change(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


Key = tuple[JobId, int, str]
"""A job, an attempt, and the name of an input or of a take of it (stems.numbered)."""


@dataclass(frozen=True, slots=True)
class _Help:
    """One that a box gives."""

    key: Key
    box: str
    session: int
    """Of the box."""


class Sharing:
    """All recordings that are shared, and the helps that go on, by their numbers."""

    def __init__(self) -> None:
        self._shares: dict[Key, Share] = {}
        self._helps: dict[int, _Help] = {}

    @property
    def keys(self) -> tuple[Key, ...]:
        """Of all that are shared."""
        return tuple(self._shares)

    def begin(self, key: Key) -> tuple[Share, bool]:
        """The recording, which the owner shares; and whether that is new."""
        is_new = key not in self._shares
        return self._shares.setdefault(key, Share()), is_new

    def find(self, key: Key) -> Share | None:
        """The recording, where its owner shares it."""
        return self._shares.get(key)

    def drop(self, key: Key) -> None:
        """Its attempt is over."""
        self._shares.pop(key).leave()

    def begin_help(self, key: Key, number: int, box: str, session: int) -> None:
        """Note a help."""
        self._helps[number] = _Help(key, box, session)

    def of_help(self, number: int) -> tuple[Key, Share] | None:
        """What a help is for; None where that is over."""
        found = self._helps.get(number)
        share = None if found is None else self._shares.get(found.key)
        return None if found is None or share is None else (found.key, share)

    def has_help(self, session: int) -> bool:
        """Whether a box helps, in this session."""
        return any(one.session == session for one in self._helps.values())

    def helps_outside(self, sessions: Collection[int]) -> list[int]:
        """Those of other sessions, and those for what is not shared any more."""
        return [
            number for number, one in self._helps.items() if one.session not in sessions or one.key not in self._shares
        ]

    def end_help(self, number: int, *, cannot: bool = False) -> None:
        """A help is over. `cannot`: its box is not to be sent there again."""
        ended = self._helps.pop(number, None)
        share = None if ended is None else self._shares.get(ended.key)
        if ended is not None and share is not None:
            share.declined |= {ended.box} if cannot else set()
            share.end_help(number, others=any(one.key == ended.key for one in self._helps.values()))

    def stop(self) -> None:
        """Let nobody wait."""
        for share in self._shares.values():
            share.leave()
