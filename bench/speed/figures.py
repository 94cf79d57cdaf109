"""Medians and ranges, a table on the terminal or in Markdown, and a plot in SVG. Pure."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from btworker.cli.wer import word_errors


@dataclass(frozen=True)
class Spread:
    """Median and range of some rounds."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        return f"{self.median:.3g} ({min(self.values):.3g} - {max(self.values):.3g})"


def speedup(theirs_s: Sequence[float], ours_s: Sequence[float]) -> Spread:
    """How many times faster, round by round: each pair ran one after the other."""
    return Spread(tuple(theirs / ours for theirs, ours in zip(theirs_s, ours_s, strict=True)))


def how_alike(found: Sequence[str], wanted: Sequence[str], *, most: float) -> str:
    """Say how alike texts are. Raises AssertionError where one is missing or more than a share of `most` of their words
    differ; of 0, texts are the same to the letter."""
    assert len(found) == len(wanted)
    assert any(wanted), "there is no text at all"
    pairs = [word_errors(reference=one, hypothesis=other) for one, other in zip(wanted, found, strict=True)]
    errors, words = sum(pair.errors for pair in pairs), sum(pair.words for pair in pairs)
    is_other = errors > most * words if most else list(found) != list(wanted)
    assert not is_other, f"{errors} of {words} words differ: {found} instead of {wanted}"
    return f"{errors} of {words} words differ" if errors else "the same texts"


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns that line up."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (header, *rows)]
    return "\n".join("  " + line.rstrip() for line in (lines[0], "-" * sum(map(len, lines[:1])), *lines[1:]))


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same for a document."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)


BAR, GAP, LEFT, WIDTH, LETTER = 18, 6, 330, 420, 7


def svg_bars(title: str, bars: Mapping[str, Spread], *, unit: str) -> str:
    """Horizontal bars of medians, with a line for the range."""
    most = max((max(bar.values) for bar in bars.values()), default=1.0)
    height = 40 + len(bars) * (BAR + GAP)
    size = f'width="{LEFT + WIDTH + 120}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="12">',
        f'<rect width="100%" height="100%" fill="white"/><text x="8" y="20" font-weight="bold">{escape(title)}</text>',
    ]
    for index, (name, bar) in enumerate(bars.items()):
        top = 32 + index * (BAR + GAP)
        low, median, high = (LEFT + value / most * WIDTH for value in (min(bar.values), bar.median, max(bar.values)))
        middle = top + BAR / 2
        colour = "#2a6fbb" if name.startswith("ours") else "#999999"
        parts += [
            f'<text x="{LEFT - 8}" y="{middle + 4:.0f}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LEFT}" y="{top}" width="{median - LEFT:.1f}" height="{BAR}" fill="{colour}"/>',
            f'<path d="M{low:.1f} {middle:.1f}H{high:.1f}" stroke="black"/>',
            f'<text x="{high + 6:.1f}" y="{middle + 4:.0f}">{bar.median:.3g} {escape(unit)}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"
