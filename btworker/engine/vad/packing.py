"""Spans of speech put together into windows for the decoder: at most 30 s, cut in silences. Pure numpy.

A window costs the same however much speech is in it, so it is filled as far as it goes. But each window is decoded
alone: it is cut in the longest pause of its last seconds, within a sentence only if there is no other way.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from btworker.engine.vad.spans import FRAME, Span
from btworker.ffmpeg import SAMPLE_RATE

GRID = 160
"""Samples from one of the decoder's frames to the next: windows begin and end on these, 10 ms apart."""
CHOICE_S = 2.0
"""Seconds at the end of a window in which the longest pause is chosen over the last one. With 5 there were 5 to 8 %
more windows, and no fewer word errors with the demo model."""
MAX_GAP_S = 4.0
"""Silence that is not carried along inside a window. Whisper invents text for long silences, but windows of a few
words each would cost as much as full ones."""
QUIET_FRAMES = 5
"""Frames (160 ms) over which the probability is averaged to find the quietest place: a pause, not one odd frame."""


def pack(
    spans: Sequence[Span],
    total_samples: int,
    probabilities: npt.NDArray[np.float32],
    *,
    limit_s: float = 30.0,
    max_gap_s: float = MAX_GAP_S,
    goes_on: bool = False,
) -> tuple[Span, ...]:
    """Windows, in order, disjoint, none longer than `limit_s`; every sample of speech lies in exactly one.

    With `goes_on`, more of the recording is to come, and these are the windows that are the same whatever comes: the
    last span may grow, and so may the window that ends with the last piece before it.

    Speech that goes on for longer than the limit is cut where it is least likely to be speech, in the last third of
    the window. `spans` and `probabilities` (one for each 512 samples) are those of spans.py. Windows begin at whole
    frames of 160 samples, and end there or with the recording.
    """
    limit = int(limit_s * SAMPLE_RATE) // GRID * GRID
    known = _on_grid(spans, total_samples)[: -1 if goes_on else None]
    pieces = [piece for span in known for piece in _shorter(span, probabilities, limit=limit)]
    windows: list[Span] = []
    first = 0
    while first < len(pieces):
        after = _end_of_window(pieces, first, limit=limit, max_gap=int(max_gap_s * SAMPLE_RATE))
        windows.append(Span(pieces[first].start, pieces[after - 1].end))
        first = after
    return tuple(windows[: -1 if goes_on else None])


def _on_grid(spans: Sequence[Span], total_samples: int) -> list[Span]:
    """Move spans to whole frames; where two then overlap, the later one has the frame."""
    starts = [span.start // GRID * GRID for span in spans]
    ends = [min(-(-span.end // GRID) * GRID, total_samples) for span in spans]
    free = [min(end, following) for end, following in zip(ends, starts[1:], strict=False)]
    return [Span(start, end) for start, end in zip(starts, [*free, *ends[-1:]], strict=True) if end > start]


def _shorter(span: Span, probabilities: npt.NDArray[np.float32], *, limit: int) -> list[Span]:
    """Cut a span into pieces within the limit."""
    pieces = []
    start = span.start
    while span.end - start > limit:
        cut = _quietest(probabilities, start + limit * 2 // 3, start + limit)
        pieces.append(Span(start, cut))
        start = cut
    return [*pieces, Span(start, span.end)]


def _quietest(probabilities: npt.NDArray[np.float32], low: int, high: int) -> int:
    """Find the sample, on the grid and in (low, high], around which speech is least likely; the last such one."""
    reach = QUIET_FRAMES // 2
    first = low // FRAME + reach + 1
    near = probabilities[first - reach : high // FRAME]
    if len(near) < QUIET_FRAMES:
        return high
    mean = np.convolve(near, np.full(QUIET_FRAMES, 1 / QUIET_FRAMES), mode="valid")
    place = first + len(mean) - 1 - int(mean[::-1].argmin())
    return (place * FRAME + FRAME // 2) // GRID * GRID


def _end_of_window(pieces: Sequence[Span], first: int, *, limit: int, max_gap: int) -> int:
    """Find the index after the last piece of the window that begins with piece `first`."""
    start = pieces[first].start
    ends = [first + 1]
    while ends[-1] < len(pieces) and pieces[ends[-1]].end - start <= limit:
        if pieces[ends[-1]].start - pieces[ends[-1] - 1].end > max_gap:
            return ends[-1]
        ends.append(ends[-1] + 1)
    if ends[-1] == len(pieces):
        return ends[-1]
    late = start + limit - int(CHOICE_S * SAMPLE_RATE)
    choices = [end for end in ends if pieces[end - 1].end >= late] or ends[-1:]
    return max(choices, key=lambda end: (pieces[end].start - pieces[end - 1].end, end))
