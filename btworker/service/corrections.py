"""The corrections of jobs: read, changed by one writer at a time, brought back to an earlier version. Parent.

A change is judged by what the engine found and by what is corrected already, then stored under the next number: where
another one was first, the store refuses it, and nobody's change is overwritten unseen.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from btworker.config import Settings
from btworker.corrections.edits import (
    CHANGE,
    NEW_SPEAKER,
    AssignSegment,
    Change,
    Edit,
    MergeSpeaker,
    NameSpeaker,
)
from btworker.corrections.layer import Layer, layers_of
from btworker.errors import BtworkerError, ErrorCode
from btworker.jobs import Job, JobId
from btworker.logs import get_logger
from btworker.outputs import read_json
from btworker.outputs.presentation import voice_of
from btworker.storage import DataFolder
from btworker.store import Store

log = get_logger()
Layers = dict[int, Layer]
MOST_FACTS = 256
"""Inputs of which it is remembered what may be corrected: labels and a number each."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the engine found in an input, as far as edits depend on it."""

    segments: int
    speakers: frozenset[str]


class Corrections:
    """Corrections of all jobs. `clock` gives seconds since the epoch."""

    def __init__(
        self, store: Store, data: DataFolder, settings: Settings, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._data = data
        self._most = settings.corrections_limit
        self._clock = clock
        self._facts: OrderedDict[tuple[JobId, int], Facts] = OrderedDict()

    async def stored(self, job: Job) -> list[str]:
        """All changes of a job as they are stored, the oldest first; version n is the n-th."""
        return await self._store.corrections(job.id)

    async def of(self, job: Job) -> list[Change]:
        """The same, read."""
        return await self._data.run(read_changes, await self.stored(job))

    async def change(
        self, job: Job, version: int, by: str, *, edits: Sequence[Edit] = (), restored: int | None = None
    ) -> Change:
        """Make the change that follows `version`, durable. Raises PRECONDITION_FAILED where another one was first,
        BAD_OPTION for an edit of what is not there, CONFLICT before the job's end and where there are too many."""
        changes = await self.of(job)
        if version != len(changes):
            raise _overtaken(len(changes))
        if sum(map(_cost, changes)) + max(len(edits), 1) > self._most:
            message = f"the job has as many corrections as are kept here (WORKER_CORRECTIONS_LIMIT, {self._most})"
            raise BtworkerError(ErrorCode.CONFLICT, message)
        layers = await self._check(job, changes, edits, restored)
        change = Change(version=version + 1, at=self._clock(), by=by, edits=tuple(edits), restored=restored)
        words = await self._data.run(_words_of, layers)
        if not await self._store.correct(job.id, change.version, CHANGE.dump_json(change).decode(), words):
            raise _overtaken(version + 1)
        log.info("job_corrected", workerJobId=job.id, version=change.version, edits=len(edits))
        return change

    async def _check(self, job: Job, changes: Sequence[Change], edits: Sequence[Edit], restored: int | None) -> Layers:
        """The layers that the change would make. Raises BAD_OPTION for what cannot be, CONFLICT, NOT_FOUND."""
        if restored is not None and restored > len(changes):
            message = f"there is no version {restored}; the newest is {len(changes)}"
            raise BtworkerError(ErrorCode.BAD_OPTION, message, param="restore")
        layers = await self._data.run(layers_of, changes, restored)
        for number, edit in enumerate(edits):
            if edit.input >= len(job.inputs):
                raise _wrong(number, f"the job has {len(job.inputs)} input(s), counted from 0")
            facts = await self._facts_of(job, edit.input)
            layer = layers.setdefault(edit.input, Layer())
            if problem := _problem(edit, facts, layer):
                raise _wrong(number, problem)
            layer.apply(edit)
        if not edits:
            await self._facts_of(job, 0)
        return layers

    async def _facts_of(self, job: Job, index: int) -> Facts:
        """What may be corrected; a transcript never changes, so it is read once. Raises CONFLICT, NOT_FOUND."""
        key = (job.id, index)
        if key not in self._facts:
            path = self._data.folder(job.id).transcript(index)
            try:
                transcript = await self._data.run(read_json, path)
            except FileNotFoundError:
                raise no_transcript(job) from None
            voices = frozenset(voice_of(one) for one in transcript.segments) | {one.speaker for one in transcript.turns}
            self._facts[key] = Facts(len(transcript.segments), frozenset(voice for voice in voices if voice))
            while len(self._facts) > MOST_FACTS:
                self._facts.popitem(last=False)
        return self._facts[key]


def read_changes(bodies: Sequence[str]) -> list[Change]:
    """Stored changes, read. Blocking: there may be thousands."""
    return [CHANGE.validate_json(body) for body in bodies]


def _words_of(layers: Layers) -> str:
    """All that can be searched of what is corrected: names, and texts."""
    found = [name for layer in layers.values() for name in layer.names.values()]
    return "\n".join(found + [one.text for layer in layers.values() for one in layer.segments.values() if one.text])


def no_transcript(job: Job) -> BtworkerError:
    """Why a job has no transcript: CONFLICT before its end, else NOT_FOUND."""
    if not job.status.finished:
        return BtworkerError(ErrorCode.CONFLICT, f"the job is {job.status.value}; its transcript comes with its end")
    return BtworkerError(ErrorCode.NOT_FOUND, f"the job is {job.status.value} and has no transcript")


def _problem(edit: Edit, facts: Facts, layer: Layer) -> str:
    """Why an edit cannot be; empty where it can."""
    known = facts.speakers | {one.speaker for one in layer.segments.values() if one.speaker}
    match edit:
        case NameSpeaker(speaker=speaker) if speaker not in known:
            return _no_speaker(known)
        case MergeSpeaker(speaker=speaker, into=into):
            if speaker not in known or (into is not None and into not in known):
                return _no_speaker(known)
            is_circle = into is not None and speaker in layer.chain(into)
            return "the two are one already: part them first, with into null" if is_circle else ""
        case NameSpeaker():
            return ""
    if edit.segment >= facts.segments:
        return f"the input has {facts.segments} segments, counted from 0"
    if isinstance(edit, AssignSegment) and edit.speaker is not None and edit.speaker not in known:
        return "" if NEW_SPEAKER.fullmatch(edit.speaker) else f"{_no_speaker(known)}, or a new SPEAKER_NN"
    return ""


def _no_speaker(known: frozenset[str] | set[str]) -> str:
    shown = ", ".join(sorted(known)[:20]) or "none: nobody looked for speakers"
    return f"there is no such speaker; there are {shown}"


def _cost(change: Change) -> int:
    return max(len(change.edits), 1)


def _wrong(number: int, problem: str) -> BtworkerError:
    return BtworkerError(ErrorCode.BAD_OPTION, f"edits[{number}]: {problem}", param=f"edits[{number}]")


def _overtaken(version: int) -> BtworkerError:
    message = f"somebody else has corrected the job meanwhile: it is at version {version}; look at it, then try again"
    return BtworkerError(ErrorCode.PRECONDITION_FAILED, message)
