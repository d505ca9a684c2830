"""How commands print: tables for people, one JSON object for programs.

What artifacts and processes say is data: no markup, emoji code or escape sequence in it takes effect.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from zmlx_bench.printable import printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment


def print_json(value: Any) -> None:
    """Print one JSON object on standard output."""
    sys.stdout.write(json_text(value))


def json_text(value: Any) -> str:
    """Return JSON in plain ASCII, which no terminal takes for anything else."""
    return json.dumps(value, indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def console(*, stderr: bool = False, plain: bool = False) -> Console:
    """Return a console for people; without a terminal, and with `plain`, it is wide and has no colours."""
    from rich.console import Console
    from rich.segment import Segment

    from zmlx_bench.report.layout import trimmed

    class Plain(Console):
        """Shows the text of every segment as it stands; the escape sequences are rich's own alone.

        Nothing is cut at the right: what does not break is a command to be copied. In a file or a pipe no line is
        filled up with blanks, which a narrower terminal would show as lines of their own.
        """

        def print(self, *objects: Any, crop: bool = False, **options: Any) -> None:
            super().print(*objects, crop=crop, **options)

        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            segments = super().render(renderable, options)
            for segment in segments if self.is_terminal else trimmed(segments):
                if segment.control or segment.text.replace("\n", "").isprintable():
                    yield segment
                else:
                    text = "\n".join(printable(line) for line in segment.text.split("\n"))
                    yield Segment(text, segment.style)

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() and not plain else 140
    terminal = False if plain else None
    return Plain(stderr=stderr, highlight=False, markup=False, emoji=False, width=width, force_terminal=terminal)


def say(line: str) -> None:
    """Print a line for people, broken between words on a terminal and whole elsewhere."""
    people = console(stderr=True)
    people.print(line, soft_wrap=not people.is_terminal)
