"""What an attempt leaves behind: durable output files with their provenance. Runs in the child."""

import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from btworker.durable import sync_folder, write_durably
from btworker.job_folder import JobFolder, transcript_name
from btworker.jobs import Input, Options, Output, OutputFormat
from btworker.outputs import FORMATS, SPEAKER_FILES, Presentation, output_name
from btworker.outputs.ready import LARGE_BYTES, keep_ready
from btworker.transcript import Transcript


class StageClock:
    """Seconds of wall time by stage. While several are in a stage at once, its time passes once."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._inside: Counter[str] = Counter()
        self._began_at: dict[str, float] = {}

    @property
    def timings(self) -> tuple[tuple[str, float], ...]:
        """(stage, seconds) in the order in which the stages first ended."""
        return tuple((stage, round(seconds, 3)) for stage, seconds in self._seconds.items())

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time inside for this stage, also when it fails."""
        self.enter(name)
        try:
            yield
        finally:
            self.leave(name)

    def enter(self, name: str) -> None:
        """Count one more in this stage."""
        if not self._inside[name]:
            self._began_at[name] = time.monotonic()
        self._inside[name] += 1

    def leave(self, name: str) -> None:
        """Count one fewer in this stage."""
        self._inside[name] -= 1
        if not self._inside[name]:
            self._seconds[name] = self._seconds.get(name, 0.0) + time.monotonic() - self._began_at[name]


class Stages:
    """The stage that one line of work is in, on several clocks. A stage inside another one interrupts it."""

    def __init__(self, *clocks: StageClock) -> None:
        self._clocks = clocks
        self._now: str | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Run a stage."""
        outer, self._now = self._now, name
        self._switch(outer, name)
        try:
            yield
        finally:
            self._switch(name, outer)
            self._now = outer

    def _switch(self, old: str | None, new: str | None) -> None:
        for clock in self._clocks:
            if old is not None:
                clock.leave(old)
            if new is not None:
                clock.enter(new)


def camel_case(options: Options) -> dict[str, Any]:
    """Options as the API spells them."""
    return {_camel(name): value for name, value in asdict(options).items()}


def write_outputs(
    folder: JobFolder, options: Options, inputs: tuple[Input, ...], transcripts: list[Transcript]
) -> tuple[Output, ...]:
    """Render and store all files of a job: written to out.part, made durable, then renamed to out as a whole."""
    part = folder.unfinished_outputs
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True, mode=0o750)
    outputs = tuple(
        output
        for index, (source, transcript) in enumerate(zip(inputs, transcripts, strict=True))
        for output in _write_one(part, options, index, source, transcript)
    )
    sync_folder(part)
    shutil.rmtree(folder.outputs, ignore_errors=True)  # of an attempt that ended before its Finished arrived
    os.replace(part, folder.outputs)
    sync_folder(folder.path)
    return outputs


def _write_one(part: Path, options: Options, index: int, source: Input, transcript: Transcript) -> Iterator[Output]:
    presentation = Presentation(title=source.stem)
    whole = FORMATS[OutputFormat.JSON].data(transcript, presentation)
    write_durably(part / transcript_name(index), whole)
    wanted = tuple(OutputFormat) if len(whole) >= LARGE_BYTES else options.outputs
    contents = {
        kind: whole if kind is OutputFormat.JSON else FORMATS[kind].data(transcript, presentation) for kind in wanted
    }
    if len(whole) >= LARGE_BYTES:
        keep_ready(part, index, contents)
    files = [(output_name(source.stem, kind), kind.value, contents[kind]) for kind in options.outputs]
    if options.diarization_enabled:
        named = Presentation(title=source.filename)
        files += [
            (source.stem + kind.suffix, name, kind.data(transcript, named)) for name, kind in SPEAKER_FILES.items()
        ]
    for name, kind_name, data in files:
        yield Output(source.input_id, name, kind_name, len(data), write_durably(part / name, data))


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)
