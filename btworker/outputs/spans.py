"""Spans of time that no two subtitles share. Pure."""

from collections.abc import Iterator, Sequence

Span = tuple[int, int]
"""From, to, in milliseconds."""
LINGER_MS = 1000
"""How long a text is shown whose end is not behind its beginning, where nothing follows sooner."""


def separate(spans: Sequence[Span]) -> Iterator[Span]:
    """Spans in order of their starts, made so that each has a length and ends before the next one begins.

    A span that has a length and overlaps none stays as it is. One that reaches into the next is cut there; those that
    begin at the same time follow one another, and share what time there is until the next begins.
    """
    free_ms = 0
    following = 0
    for index, (wanted_start_ms, wanted_end_ms) in enumerate(spans):
        start_ms = max(wanted_start_ms, free_ms)
        following = max(following, index + 1)
        while following < len(spans) and spans[following][0] <= start_ms:
            following += 1
        sharing = spans[index:following]
        latest_end_ms = max(end_ms for _, end_ms in sharing)
        limit_ms = latest_end_ms if latest_end_ms > start_ms else start_ms + LINGER_MS
        if following < len(spans):
            limit_ms = min(limit_ms, spans[following][0])
        share_end_ms = start_ms + max((limit_ms - start_ms) // len(sharing), 1)
        free_ms = wanted_end_ms if start_ms < wanted_end_ms < share_end_ms else share_end_ms
        yield start_ms, free_ms
