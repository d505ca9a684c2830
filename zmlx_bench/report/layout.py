"""How text is laid out on a terminal of any width: lines that break between their parts, commands that can be copied.

A table of many columns is unreadable where it does not fit; `Fitting` then shows its rows as paragraphs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.segment import Segment
from rich.text import Text

_GAP = 2
_UNBOUNDED = 10_000


@dataclass(frozen=True)
class Flow:
    """Parts on as few lines as fit, broken only between parts; a part longer than a line is wrapped."""

    parts: Sequence[str | Text]
    indent: int = 0
    hang: int | None = None
    """Indent of the second and later lines; default: two more than `indent`."""
    style: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        hang = self.indent + 2 if self.hang is None else self.hang
        line, indent = Text(style=self.style), self.indent
        for part in self.parts:
            text = Text(part) if isinstance(part, str) else part
            if line and indent + line.cell_len + _GAP + cell_len(text.plain.rstrip()) > options.max_width:
                yield _line(line, indent)
                line, indent = Text(style=self.style), hang
            if line:
                line.append(" " * _GAP)
            line.append_text(text)
        if line:
            yield _line(line, indent)


@dataclass(frozen=True)
class Command:
    """A shell command, broken before its options with backslashes, so that every line of it can be copied at once."""

    text: str
    indent: int = 2

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        line = " " * self.indent
        for number, piece in enumerate(re.split(r" (?=--)", self.text)):
            if number and cell_len(line) + cell_len(piece) + 3 > options.max_width:
                yield Text(f"{line} \\", no_wrap=True, overflow="ignore")
                line = " " * (self.indent + 4) + piece
            else:
                line += f" {piece}" if number else piece
        yield Text(line, no_wrap=True, overflow="ignore")


def trimmed(segments: Iterable[Segment]) -> Iterator[Segment]:
    """Yield the segments without the blanks before an end of line."""
    blanks: list[Segment] = []
    for segment in segments:
        if segment.control:
            yield segment
            continue
        for part in segment.text.splitlines(keepends=True):
            line = part.removesuffix("\n")
            if words := line.rstrip(" "):
                yield from blanks
                blanks.clear()
                yield Segment(words, segment.style)
            if line != part:
                blanks.clear()
                yield Segment.line()
            elif filled := line[len(words) :]:
                blanks.append(Segment(filled, segment.style))
    yield from blanks


@dataclass(frozen=True)
class Fitting:
    """`wide` where it fits without breaking a cell, else `narrow`."""

    wide: RenderableType
    narrow: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        natural = Measurement.get(console, options.update(max_width=_UNBOUNDED), self.wide).maximum
        yield self.wide if natural <= options.max_width else self.narrow


@dataclass
class Columns:
    """Pads the cells of several lines so that they stand under each other wherever the lines do not break."""

    right: frozenset[int] = frozenset()
    """Indices of the columns whose cells end at the same place."""
    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, *cells: str) -> None:
        """Add a line."""
        self.rows.append(cells)

    def padded(self) -> list[tuple[str, ...]]:
        """Return the lines with padded cells."""
        wide = [max(map(cell_len, column)) for column in zip(*self.rows, strict=True)]
        return [
            tuple(
                f"{' ' * (room - cell_len(cell))}{cell}"
                if at in self.right
                else f"{cell}{' ' * (room - cell_len(cell))}"
                for at, (cell, room) in enumerate(zip(row, wide, strict=True))
            )
            for row in self.rows
        ]


def _line(text: Text, indent: int) -> Padding:
    text.rstrip()
    return Padding(text, (0, 0, 0, indent), expand=False)
