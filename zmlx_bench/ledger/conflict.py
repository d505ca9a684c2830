"""Text that Git could not merge: told apart, and taken as either side had it."""

from __future__ import annotations

import re

_BEGIN = re.compile(r"^<{7} ", re.MULTILINE)
_MARK = re.compile(r"^(<{7} |\|{7} |={7}\r?$|>{7} )")
REMEDY = "`zmlx promote` writes the file again"
MESSAGE = f"holds a conflict of Git's; {REMEDY}"
REFUSAL = "holds a conflict of Git's; resolve it: this file is written by people"


def conflicted(text: str) -> bool:
    """Return whether Git's marks of a conflict stand in a text."""
    return _BEGIN.search(text) is not None


def is_mark(line: str) -> bool:
    """Return whether a line is one of Git's marks."""
    return _MARK.match(line) is not None


def sides(text: str) -> tuple[str, ...]:
    """Return the text as each side of its conflicts had it; the text alone where there is none."""
    if not conflicted(text):
        return (text,)
    sections: dict[str, list[str]] = {"<": [], ">": []}
    inside = ""
    for line in text.splitlines(keepends=True):
        if is_mark(line) and (line[0] == "<" or inside):
            inside = {"<": "<", "|": "|", "=": ">", ">": ""}[line[0]]
        elif inside:
            if inside in sections:
                sections[inside].append(line)
        else:
            for part in sections.values():
                part.append(line)
    return tuple("".join(part) for part in sections.values())
