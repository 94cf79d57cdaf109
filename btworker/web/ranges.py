"""Ranges of a recording and its channels, as clients write them, under their several names. Pure, parent."""

import re
from itertools import pairwise
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from typing_extensions import TypedDict

from btworker.errors import BtworkerError, ErrorCode

Range = tuple[float, float | None]


class RangeWire(TypedDict):
    """A range of a recording, in seconds; no end: to the recording's."""

    start: float
    end: float | None


LONGEST_S = 3_600_000.0
"""Seconds of the latest time: 1,000 hours, the most that WORKER_MAX_AUDIO_HOURS can be."""
LEAST_S = 0.1
"""Length of the shortest range."""
MOST_RANGES = 100
TIME = "seconds, m:ss or h:mm:ss, such as 90, 1:30 or 0:01:30.5"
RANGES = f'1 to {MOST_RANGES} ranges START-END, such as 0:10-0:20 (no END: to the end), or {{"start": …, "end": …}}'
_SECONDS = re.compile(r"\d{1,7}(?:\.\d{1,9})?")
_CLOCK = re.compile(r"(?:(\d{1,4}):([0-5]?\d)|(\d{1,5})):([0-5]\d(?:\.\d{1,9})?)")


def _seconds(raw: object) -> float:
    """Read a time. Raises ValueError."""
    if isinstance(raw, str) and (found := _CLOCK.fullmatch(raw.strip())):
        hours, minutes, only_minutes, seconds = found.groups()
        time_s = int(hours or 0) * 3600 + int(minutes or only_minutes) * 60 + float(seconds)
    elif isinstance(raw, int | float | str) and _SECONDS.fullmatch(str(raw).strip()):
        time_s = float(raw)
    else:
        raise ValueError(TIME)
    if not 0 <= time_s <= LONGEST_S:
        raise ValueError(TIME)
    return time_s


def _range(raw: object) -> Range:
    """Read a range. Raises ValueError."""
    start: object
    end: object
    if isinstance(raw, str):
        start, dash, end = (part.strip() for part in raw.partition("-"))
        if not dash or start == end == "":
            raise ValueError(RANGES)
    elif isinstance(raw, dict) and {*raw} <= {"start", "end"}:
        start, end = raw.get("start"), raw.get("end")
    elif isinstance(raw, list | tuple) and len(raw) == 2:
        start, end = raw
    else:
        raise ValueError(RANGES)
    return (0.0 if start in (None, "") else _seconds(start), None if end in (None, "") else _seconds(end))


def _ranges(raw: object) -> tuple[Range, ...]:
    """Read a list of ranges, or the text of some with commas between them. Raises ValueError."""
    items = raw if isinstance(raw, list | tuple) else [raw]
    split = [part for item in items for part in (item.split(",") if isinstance(item, str) else [item])]
    ranges = tuple(_range(item) for item in split if not (isinstance(item, str) and not item.strip()))
    if not 1 <= len(ranges) <= MOST_RANGES:
        raise ValueError(RANGES)
    return ranges


_TIME_SCHEMA: dict[str, Any] = {
    "anyOf": [{"type": "number", "minimum": 0, "maximum": LONGEST_S}, {"type": "string", "pattern": "^[0-9:.]+$"}]
}
_RANGE_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string", "pattern": "^[0-9:.]*-[0-9:.]*$"},
        {"type": "object", "properties": {"start": _TIME_SCHEMA, "end": _TIME_SCHEMA}, "additionalProperties": False},
    ]
}
Time = Annotated[float, BeforeValidator(_seconds), WithJsonSchema(_TIME_SCHEMA)]
"""Time in seconds."""
Ranges = Annotated[
    tuple[Range, ...],
    BeforeValidator(_ranges),
    WithJsonSchema({"type": "array", "items": _RANGE_SCHEMA, "minItems": 1, "maxItems": MOST_RANGES}),
]
"""Ranges in seconds."""


def checked_ranges(start: float | None, end: float | None, ranges: tuple[Range, ...] | None) -> tuple[Range, ...]:
    """Bring the ranges in order. Raises BAD_OPTION for what is empty, reversed, overlapping or asked for twice."""
    if ranges is None:
        one = (start or 0.0, end)
        return () if one == (0.0, None) else (_checked(one, "start" if end is None else "end"),)
    if start is not None or end is not None:
        raise BtworkerError(ErrorCode.BAD_OPTION, "give start and end, or ranges, not both", param="ranges")
    ordered = sorted((_checked(one, "ranges") for one in ranges), key=lambda one: one[0])
    for (first_start, first_end), (second_start, second_end) in pairwise(ordered):
        if first_end is None or second_start < first_end:
            message = (
                f"ranges must not overlap: {_shown((first_start, first_end))}, {_shown((second_start, second_end))}"
            )
            raise BtworkerError(ErrorCode.BAD_OPTION, message, param="ranges")
    return () if ordered == [(0.0, None)] else tuple(ordered)


def _checked(one: Range, param: str) -> Range:
    start, end = one
    if end is not None and end - start < LEAST_S:
        message = f"a range must end after its start, by {LEAST_S} s at least: {_shown(one)}"
        raise BtworkerError(ErrorCode.BAD_OPTION, message, param=param)
    return one


def _shown(one: Range) -> str:
    start, end = one
    return f"{start:g} s to {'the end' if end is None else f'{end:g} s'}"


def chosen_channels(channels: str | None, multichannel: bool | None) -> str:  # noqa: FBT001 - as it came
    """Return `mix` or `separate`. Raises BAD_OPTION where both names are given and disagree."""
    if multichannel is None:
        return channels or "mix"
    if channels is not None and (channels == "separate") != multichannel:
        message = "multichannel=true is channels=separate; give one of them"
        raise BtworkerError(ErrorCode.BAD_OPTION, message, param="multichannel")
    return "separate" if multichannel else "mix"
