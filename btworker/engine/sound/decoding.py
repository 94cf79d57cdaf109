"""Any file -> 16 kHz s16le in the scratch folder, mono or a file for each channel, by ffmpeg in a sandbox. Runs in the
child.

Every later stage reads the sound through a memory map: `Audio.samples`, or what is there of it while ffmpeg is at work
(pool.py). Several recordings one behind the other in a file are decoded one after the other (one_recording.py).
"""

import contextlib
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import TypeVar

from btworker.engine.sound import verdict
from btworker.engine.sound.alike import compared
from btworker.engine.sound.containers import Findings, examine
from btworker.engine.sound.ffmpeg import Audio, Budget, DecodeProgress, Limits
from btworker.engine.sound.files import SoundFiles
from btworker.engine.sound.layout import OPEN, Stretch, Wanted
from btworker.engine.sound.one_recording import Entry, PartDecoding, Place
from btworker.engine.sound.parts import Part, parts_of, tags_inside
from btworker.engine.sound.reader import Reader
from btworker.engine.sound.seeking import Anchors
from btworker.errors import BtworkerError, ErrorCode
from btworker.ffmpeg import SAMPLE_RATE, Clip, find_ffmpeg

T = TypeVar("T")
END_TOLERANCE_S = 0.5
"""Seconds that a recording may end before a range without a warning."""
FAULTS_OF_FILES = (ErrorCode.NO_AUDIO, ErrorCode.CORRUPT_AUDIO)
"""Errors of one recording, which leave the others of the same file."""


def decode(
    source: Path,
    target: Path,
    *,
    limits: Limits,
    canceled: Callable[[], bool],
    wanted: Wanted = Wanted(),  # noqa: B008 - frozen
) -> Generator[DecodeProgress, None, Audio]:
    """Decode what is wanted of `source` into the new file `target`, and files beside it for further channels; yields
    progress, returns the Audio.

    Raises BtworkerError: NO_AUDIO, CORRUPT_AUDIO, AUDIO_TOO_LONG, BAD_OPTION (a range behind the recording's end, too
    many channels), DISK_FULL, TIMEOUT, CANCELED, OUT_OF_MEMORY, PROCESSING_ERROR (no ffmpeg, or it ends early each
    time). The files are removed on every error, and when the generator is closed.
    """
    ffmpeg = find_ffmpeg()
    if ffmpeg is None:
        raise BtworkerError(
            ErrorCode.PROCESSING_ERROR, "this worker has no ffmpeg; install it, or the Python package imageio-ffmpeg"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    files = SoundFiles(target)
    with contextlib.ExitStack() as on_failure:
        on_failure.callback(files.discard)
        with contextlib.closing(files):
            decoding = FileDecoding(source, Place(ffmpeg, files, Budget(limits, canceled), wanted))
            yield from decoding.run()
            files.finish(decoding.sample_count)
        audio = decoding.audio()
        on_failure.pop_all()
    return audio


class FileDecoding:
    """Decoding of one file: of its recordings one after the other, which are mostly one."""

    def __init__(self, source: Path, place: Place) -> None:
        self._source = source
        self._place = place
        self._layout = place.wanted.layout
        self._position = 0
        """Sample of the file's sound up to which it is decoded."""
        self._reached: dict[tuple[int, int], int] = {}
        """Range -> sample up to which its run decoded."""
        self._longest_s = 0.0
        self.warnings: list[str] = []
        """Sentences that the user has to know of the file."""

    @property
    def sample_count(self) -> int:
        """Number of samples that are in the files."""
        return sum(stretch.count for stretch in self._stretches())

    def audio(self) -> Audio:
        """Make the result. Raises CANCELED."""
        files, separate, count = self._place.files, self._place.wanted.separate, self.sample_count
        channels = compared(files.paths, count, self._place.budget.check_canceled) if separate else ()
        self.warnings += verdict.same_channels(channels)
        stretches = () if self._layout.is_whole else self._stretches()
        return Audio(files.paths[0], count, tuple(dict.fromkeys(self.warnings)), channels, stretches)

    def run(self) -> Generator[DecodeProgress, None, None]:
        """Decode all recordings. Raises the first one's error where none has sound."""
        errors: list[BtworkerError] = []
        parts = self._look(parts_of)
        for part in parts:
            findings = self._look(partial(examine, part=part))
            span = None if len(parts) == 1 else (part.start, part.end)
            clip = Clip(self._source, span, ignore_wav_length=findings.ignore_wav_length)
            try:
                yield from self._decode_part(clip, findings, part)
            except BtworkerError as error:
                if error.code not in FAULTS_OF_FILES:
                    raise
                errors.append(error)
                self.warnings.append(verdict.not_decoded(part, error))
            if self._position >= self._layout.end:
                break
        if not self._position and errors:
            raise errors[0]
        self._check_ranges()

    def _decode_part(self, clip: Clip, findings: Findings, part: Part) -> Generator[DecodeProgress, None, None]:
        """Decode one recording: from its beginning, or range by range where its file is that alone and has some."""
        begin, layouts = self._position, [self._layout]
        tags_of = partial(self._look, partial(tags_inside, part=part))
        anchors = Anchors(self._place.ffmpeg, clip, is_joined=lambda: tags_of() > 0)
        if clip.span is None and not self._layout.is_whole and anchors.of(0) is not None:
            layouts = list(self._layout.one_by_one())
        for layout in layouts:
            entry = Entry(clip, layout, begin, anchors if clip.span is None and not layout.is_whole else None)
            decoding = PartDecoding(entry, findings, self._place)
            runs = yield from decoding.runs_with_sound()
            reached = max((run.sound.position for run in runs if run.sound.sample_count), default=begin)
            self._position = max(self._position, reached)
            self._reached |= {one: max(reached, self._reached.get(one, 0)) for one in layout.ranges}
            for run in runs:
                self._longest_s = max(self._longest_s, run.report.duration_s or 0.0)
                if run.sound.sample_count:
                    is_mp3 = run.report.container == "mp3" and run.report.damaged
                    self.warnings += decoding.warnings(run, tags=tags_of() if is_mp3 else 0)

    def _stretches(self) -> tuple[Stretch, ...]:
        """List the ranges as far as the recording has them."""
        return tuple(
            Stretch(one.base, min(max(self._reached.get((start, end), 0) - start, 0), end - start), start / SAMPLE_RATE)
            for one in self._layout.one_by_one()
            for start, end in one.ranges
        )

    def _check_ranges(self) -> None:
        """Warn of ranges that the recording ends in. Raises BAD_OPTION where it ends before one."""
        length_s = max(self._position / SAMPLE_RATE, self._longest_s)
        for (start, end), stretch in zip(self._layout.ranges, self._stretches(), strict=True):
            if start and not stretch.count:
                raise verdict.no_sound_in_range(stretch.start_s, length_s)
            if end != OPEN and end - start - stretch.count > END_TOLERANCE_S * SAMPLE_RATE:
                self.warnings.append(verdict.ends_early(end / SAMPLE_RATE, stretch))

    def _look(self, look: Callable[[Reader], T]) -> T:
        """Look into the file. Raises PROCESSING_ERROR where the disk does not give it."""
        try:
            with self._source.open("rb") as file:
                return look(Reader(file, self._place.budget.check_canceled))
        except OSError as error:
            raise verdict.cannot_read(error) from error
