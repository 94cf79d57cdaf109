"""Changes, one version after the other -> what is corrected at a version."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from btworker.corrections.edits import AssignSegment, Change, CheckSegment, Edit, EditText, MergeSpeaker, NameSpeaker


@dataclass(frozen=True, slots=True)
class Corrected:
    """What is corrected in one segment."""

    text: str | None = None
    """None: as the engine has it."""
    speaker: str | None = None
    checked: bool = False


@dataclass(slots=True)
class Layer:
    """All that is corrected in one input."""

    names: dict[str, str] = field(default_factory=dict)
    """Speaker -> name."""
    merges: dict[str, str] = field(default_factory=dict)
    """Speaker -> speaker who is the same person."""
    segments: dict[int, Corrected] = field(default_factory=dict)
    """Number of a segment in the transcript, from 0 -> what is corrected in it."""

    def apply(self, edit: Edit) -> None:
        """Follow one more edit."""
        match edit:
            case NameSpeaker(speaker=speaker, name=name):
                _put(self.names, speaker, name)
            case MergeSpeaker(speaker=speaker, into=into):
                _put(self.merges, speaker, into)
            case AssignSegment(segment=number, speaker=label):
                self._correct(number, replace(self._of(number), speaker=label))
            case EditText(segment=number, text=text):
                self._correct(number, replace(self._of(number), text=text))
            case CheckSegment(segment=number, checked=checked):
                self._correct(number, replace(self._of(number), checked=checked))

    def merged(self, speaker: str) -> str:
        """Return the speaker whom this one is merged into, or the same."""
        return self.chain(speaker)[-1]

    def chain(self, speaker: str) -> list[str]:
        """List the speaker, whom they are merged into, whom those are, and so on."""
        found = [speaker]
        while (into := self.merges.get(found[-1])) is not None:
            found.append(into)
        return found

    def shown(self, speaker: str) -> str:
        """Return the name under which a speaker is shown."""
        merged = self.merged(speaker)
        return self.names.get(merged, merged)

    def _of(self, number: int) -> Corrected:
        return self.segments.get(number, Corrected())

    def _correct(self, number: int, corrected: Corrected) -> None:
        if corrected == Corrected():
            self.segments.pop(number, None)
        else:
            self.segments[number] = corrected


def layers_of(changes: Sequence[Change], version: int | None = None) -> dict[int, Layer]:
    """Number of an input -> its layer at a version (None: the newest). The changes are all of a job's, in order."""
    layers: dict[int, Layer] = {}
    for change in _line(changes, len(changes) if version is None else version):
        for edit in change.edits:
            layers.setdefault(edit.input, Layer()).apply(edit)
    return layers


def _line(changes: Sequence[Change], version: int) -> Iterator[Change]:
    """Yield the changes that a version stands on, the oldest first: a version that brings another one back stands on
    what that one does, and on nothing between them."""
    found = []
    while version > 0:
        change = changes[version - 1]
        found.append(change)
        version = change.version - 1 if change.restored is None else change.restored
    return reversed(found)


def _put(table: dict[str, str], key: str, value: str | None) -> None:
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value
