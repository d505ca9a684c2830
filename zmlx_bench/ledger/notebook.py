"""The notebook: a file for each entry and each note in `notebook/`, and `LAB_NOTEBOOK.md`, which shows them in order.

The files' names begin with a time, so that their order is that of the diary. Entries are written by `zmlx promote` and
not touched again; notes (`.md`) belong to people. `LAB_NOTEBOOK.md` can be made again from them at any time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from zmlx_bench import files, locks
from zmlx_bench.errors import UnusableInput
from zmlx_bench.ledger import conflict
from zmlx_bench.schema.entry import Entry
from zmlx_bench.workspace import Workspace

TITLE = "# Lab notebook\n\n"
OPENING = (
    TITLE + "Written by date from the files in `notebook/`, with `zmlx promote`. Edit a note there; a section that is "
    "added here\nmoves there. Entries titled `EXP-` are made from capsules, and `zmlx check` recomputes their data.\n"
)
OPENING_FILE = "0000-opening.md"
"""A note that stands in the place of `OPENING`: with the title, and with no heading of its own."""
_HEADING = re.compile(r"^## ")
_FENCE = re.compile(r"^(```|~~~)")
_SHOWN = re.compile(r"^<!-- notebook/([A-Za-z0-9][A-Za-z0-9_.\-]{0,254}) -->$", re.MULTILINE)


@dataclass(frozen=True)
class Section:
    """A part of a notebook from one heading to the next."""

    line: int
    """Line of its heading, from 1."""
    text: str
    """Ends in one newline."""

    @property
    def title(self) -> str:
        """The words of its heading."""
        return self.text.partition("\n")[0].removeprefix("## ").strip()

    @property
    def file(self) -> str | None:
        """The file in `notebook/` that it shows; None for what somebody wrote into LAB_NOTEBOOK.md."""
        found = _SHOWN.search(self.text)
        return None if found is None else found.group(1)


def names(workspace: Workspace) -> list[str]:
    """Return the names of all entries and notes: by what stands before the first `-`, entries before notes."""
    found = [p.name for p in workspace.entries.glob("*") if p.suffix in (".json", ".md") and p.name[0] != "."]
    return sorted(found, key=lambda name: (name.partition("-")[0], name.endswith(".md"), name))


def read_entry(workspace: Workspace, name: str) -> Entry:
    """Read an entry; UnusableInput names file and field."""
    path = workspace.entries / name
    files.refuse_outside(workspace.root, path)
    return files.read_json(path, Entry)


def read_note(workspace: Workspace, name: str) -> str:
    """Read a note's Markdown; UnusableInput where it has no heading or holds a conflict."""
    path = workspace.entries / name
    files.refuse_outside(workspace.root, path)
    text = files.read_text(path).replace("\r\n", "\n").strip("\n") + "\n"
    if conflict.conflicted(text):
        raise UnusableInput(f"{path}: {conflict.REFUSAL}")
    if name != OPENING_FILE and not _HEADING.match(text):
        raise UnusableInput(f"{path}: line 1: is no heading; begin the note with `## ` and its title")
    return text


def read(path: Path) -> str:
    """Return the text of LAB_NOTEBOOK.md; empty where there is none."""
    return files.read_text(path).replace("\r\n", "\n") if path.exists() else ""


def shown(name: str, text: str) -> str:
    """Return an entry or note as LAB_NOTEBOOK.md shows it: under each heading, the file that it stands in."""
    return "\n".join(
        f"{section.text.partition(chr(10))[0]}\n\n<!-- notebook/{name} -->\n{section.text.partition(chr(10))[2]}"
        for section in split(text)[1]
    )


def render(workspace: Workspace) -> str:
    """Return what LAB_NOTEBOOK.md must hold."""
    parts = [OPENING]
    for name in names(workspace):
        if name == OPENING_FILE:
            parts[0] = read_note(workspace, name)
        else:
            entry = name.endswith(".json")
            parts.append(shown(name, read_entry(workspace, name).text if entry else read_note(workspace, name)))
    return "\n".join(parts)


def split(text: str) -> tuple[str, list[Section]]:
    """Return what stands above the first heading, and the sections; a heading in a block of code is none."""
    lines = text.split("\n")
    starts, fenced = [], False
    for number, line in enumerate(lines):
        if _FENCE.match(line):
            fenced = not fenced
        elif not fenced and _HEADING.match(line):
            starts.append(number)
    if not starts:
        return text, []
    ends = [*starts[1:], len(lines)]
    sections = [
        Section(start + 1, "\n".join(lines[start:end]).rstrip("\n") + "\n")
        for start, end in zip(starts, ends, strict=True)
    ]
    return "\n".join(lines[: starts[0]]), sections


def write(workspace: Workspace, entries: Sequence[Entry]) -> list[Entry]:
    """Write the entries whose evidence the notebook does not have yet, then LAB_NOTEBOOK.md; return the new ones."""
    with locks.locked(workspace.notebook):
        known = {entry.evidence_sha256 for entry in all_entries(workspace)}
        new = [entry for entry in entries if entry.evidence_sha256 not in known]
        for entry in new:
            files.write_atomic(workspace.entries / entry.file_name, dump(entry))
        text = render(workspace).encode()
        path = workspace.notebook
        if (workspace.entries.is_dir() or path.exists()) and (not path.exists() or files.read_bytes(path) != text):
            files.write_atomic(path, text)
    return new


def all_entries(workspace: Workspace) -> Iterator[Entry]:
    """Read every entry."""
    return (read_entry(workspace, name) for name in names(workspace) if name.endswith(".json"))


def dump(entry: Entry) -> bytes:
    """Return the bytes of an entry's file: its prose line by line, as people read it."""
    return (json.dumps(entry.model_dump(mode="json"), ensure_ascii=False, allow_nan=False, indent=1) + "\n").encode()
