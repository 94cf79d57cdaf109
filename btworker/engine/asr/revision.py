"""What openai-whisper's transcribe() does differently from release to release, as facts that the loop asks for.

Both pinned stacks must give the segments of the whisper that they carry. Runs in the child.
"""

from dataclasses import dataclass
from importlib.metadata import version


@dataclass(frozen=True, slots=True)
class Revision:
    """The rules of one release of openai-whisper."""

    pads_with_silence: bool
    """The last window goes on into the padding as the spectrogram has it; later releases fill up with zeros."""
    silence_wants_low_logprob: bool
    """A window counts as silence only when its tokens are improbable, too (openai/whisper#1903)."""
    seeks_to_last_end: bool
    """With word times, the next window begins at the last word's end, or at the last segment's when it has none."""


REVISION_2023 = Revision(pads_with_silence=True, silence_wants_low_logprob=False, seeks_to_last_end=False)
REVISION_2024 = Revision(pads_with_silence=False, silence_wants_low_logprob=True, seeks_to_last_end=True)


def installed_revision() -> Revision:
    """Return the rules of the installed release; its versions are dates."""
    return REVISION_2024 if version("openai-whisper") >= "20240927" else REVISION_2023
