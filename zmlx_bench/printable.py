"""Text that came from a file or a process, made fit for a terminal and for Markdown."""

from __future__ import annotations

LONGEST = 300
"""Characters; a longer message is cut."""


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
    shown = printable(text)
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"
