"""Text that came from a file or a process, made fit for a terminal and for Markdown."""

from __future__ import annotations

import re

LONGEST = 300
"""Characters; a longer message is cut."""
_TELLS = re.compile(r"\berror\b|Error:", re.IGNORECASE)
_RAISED = re.compile(r"\w+(?:Error|Exception): ")
_FRAME = re.compile(r'\s+File ".*", line \d+')


def printable(text: str) -> str:
    """Return `text` on one line; control, bidirectional and other unprintable characters are shown as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def encodable(text: str) -> str:
    """Return `text` with escapes for bytes that are no UTF-8, which a name of a file or a variable may hold."""
    return text.encode("utf-8", "backslashreplace").decode()


def markdown(text: str) -> str:
    """Return `text` printable and without HTML, links or images of its own."""
    shown = printable(text).replace("&", "&amp;").replace("<", "&lt;")
    return shown.replace("](", "]\\(").replace("][", "]\\[")


def clean(text: str) -> str:
    """Return `text` printable and at most `LONGEST` long."""
    return shortened(printable(text))


def shortened(text: str, longest: int = LONGEST) -> str:
    """Return `text`, cut between two words, where there are such, and ended by an ellipsis if it is longer."""
    if len(text) <= longest:
        return text
    cut = text[:longest].rpartition(" ")[0].rstrip()
    return f"{cut if len(cut) >= longest // 2 else text[: longest - 1]}…"


def shown(value: object, longest: int = 60) -> str:
    """Return a value that a file says as Python writes it, at most `longest` characters long."""
    return shortened(repr(value), longest)


def one_line(text: str, longest: int = LONGEST) -> str:
    """Return a text of several lines as one, printable and at most `longest` characters long.

    Where not all of it fits, the first line stays and the one that speaks of an error, else the last.
    """
    lines = [printable(line.strip()) for line in text.splitlines() if line.strip()]
    whole = " ".join(lines)
    if len(whole) <= longest or len(lines) == 1:
        return shortened(whole, longest)
    first, *others = lines
    told = shortened(next((line for line in others if _TELLS.search(line)), others[-1]), longest // 2)
    return f"{shortened(first, longest - len(told) - 1)} {told}"


def said(message: str | None) -> str:
    """Return in one line what a process's message says: how it ended, and why.

    Such a message is how the process ended, an exception that it sent, say, and then the last that it printed, as a
    rule with a traceback: of that the exception counts, with all of its lines; where there is none, the last line.
    """
    lines = [line.rstrip() for line in (message or "").splitlines() if line.strip()]
    if not lines:
        return ""
    first, rest = lines[0].strip(), lines[1:]
    again = [at for at, line in enumerate(rest) if line == first or line.endswith(f".{first}")]
    if again:
        return one_line("\n".join([first, *rest[again[-1] + 1 :]]))
    frames = [at for at, line in enumerate(rest) if _FRAME.match(line)]
    if frames:
        raised = next((at for at in range(frames[-1], len(rest)) if not rest[at][0].isspace()), len(rest))
        return one_line("\n".join([f"{first}:", *rest[raised:]]) if raised < len(rest) else first)
    if _RAISED.match(first):  # with more lines than the end of what was printed holds
        return one_line("\n".join([first, *rest]))
    return one_line(f"{first}; it printed last: {rest[-1].strip()}" if rest else first)
