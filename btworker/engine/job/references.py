"""Voices that come with a job: decoded and judged before anything else is done, so that a bad one is an error at once
and not a name that is missing at the end. Runs in the child.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from btworker.engine.cooperate.result import result_of
from btworker.engine.sound.decoding import decode
from btworker.engine.sound.ffmpeg import Limits
from btworker.engine.vad.detector import SpeechDetector
from btworker.errors import BtworkerError, ErrorCode
from btworker.ffmpeg import SAMPLE_RATE
from btworker.job_folder import JobFolder
from btworker.specs import EngineSettings
from btworker.voices import Voice

LEAST_SPEECH_SHARE = 0.5
"""Share of the shortest allowed reference that has to be speech."""
ROOM_S = 1.0
"""Sound beyond the limit that is decoded, so that a length that is a moment too long is noticed."""
BAD_SOUND = (ErrorCode.NO_AUDIO, ErrorCode.CORRUPT_AUDIO)


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """A known voice: a stored one, or samples at 16 kHz."""

    name: str
    voice: Voice | None = None
    samples: npt.NDArray[np.int16] | None = None


class ReferenceReader:
    """Reads the references of one attempt at a job."""

    def __init__(self, settings: EngineSettings, folder: JobFolder, detector: SpeechDetector) -> None:
        self._settings = settings
        self._folder = folder
        self._detector = detector

    def read(self, index: int, name: str, canceled: Callable[[], bool]) -> Reference:
        """Read number `index` of the known speakers. Raises BAD_OPTION with what is wrong with it, CANCELED."""
        try:
            return Reference(name, voice=Voice.from_json(self._folder.reference(index, stored=True).read_bytes()))
        except FileNotFoundError:
            source = self._folder.reference(index)
        except ValueError:
            raise _bad(name, "is a stored voice that cannot be read; store it again") from None
        if not source.exists():
            raise _bad(name, "is gone from the job's folder; submit the job again")
        scratch = self._settings.scratch / f"{self._folder.path.name}.voice{index}.s16"
        return Reference(name, samples=self.samples(source, scratch, name, canceled))

    def samples(self, source: Path, scratch: Path, name: str, canceled: Callable[[], bool]) -> npt.NDArray[np.int16]:
        """Decode a reference and judge it. Raises BAD_OPTION, CANCELED."""
        settings = self._settings
        limits = Limits(settings.reference_max_s + ROOM_S, stall_s=settings.decode_stall_s)
        try:
            audio = result_of(decode(source, scratch, limits=limits, canceled=canceled))
        except BtworkerError as error:
            if error.code is ErrorCode.AUDIO_TOO_LONG:
                raise _bad(name, f"is longer than {settings.reference_max_s:g} s; cut it") from None
            if error.code in BAD_SOUND:
                raise _bad(name, f"is no recording that can be decoded: {error.message}") from None
            raise
        samples = np.array(audio.samples)
        audio.discard()
        self._judge(samples, name)
        return samples

    def _judge(self, samples: npt.NDArray[np.int16], name: str) -> None:
        seconds, shortest_s = len(samples) / SAMPLE_RATE, self._settings.reference_min_s
        if seconds > self._settings.reference_max_s:
            raise _bad(name, f"is {seconds:.1f} s long; at most {self._settings.reference_max_s:g} s are taken: cut it")
        if seconds < shortest_s:
            raise _bad(name, f"is {seconds:.1f} s long; at least {shortest_s:g} s are needed")
        speech_s = sum(end - start for start, end in (one.seconds for one in self._detector.speech(samples).voiced))
        if speech_s < LEAST_SPEECH_SHARE * shortest_s:
            raise _bad(name, f"has {speech_s:.1f} s of speech, which is too little to know a voice by")


def _bad(name: str, what: str) -> BtworkerError:
    return BtworkerError(ErrorCode.BAD_OPTION, f"the reference of {name!r} {what}", param="known_speaker_references")
