"""`LAB_NOTEBOOK.md`: append entries, each body of evidence once, and find them again."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zmlx_bench import files, locks
from zmlx_bench.errors import UnusableInput
from zmlx_bench.ledger.entry import Entry, Mark

OPENING = "# Lab notebook\n\nEntries are written by `zmlx promote` from capsules and recomputed by `zmlx check`.\n"
_MARK = re.compile(r"^<!-- zmlx evidence: (\{.*\}) -->$", re.MULTILINE)
_HEADING = re.compile(r"^## ", re.MULTILINE)


@dataclass(frozen=True)
class Written:
    """An entry as it stands in the notebook."""

    title: str
    line: int
    """Line of its heading, from 1."""
    mark: Mark
    text: str


def append(path: Path, entries: Sequence[Entry]) -> list[Entry]:
    """Append the entries whose evidence the notebook does not have yet; return them.

    The notebook is read and written again under a lock, so that of several processes none loses another's entries.
    """
    if not _new(path, entries):
        return []
    with locks.locked(path):
        new = _new(path, entries)
        if new:
            text = (read(path) or OPENING).rstrip("\n") + "\n\n" + "\n".join(entry.text for entry in new)
            files.write_atomic(path, text.encode())
    return new


def _new(path: Path, entries: Sequence[Entry]) -> list[Entry]:
    known = {written.mark.sha256 for written in written_entries(read(path), path)}
    return [entry for entry in entries if entry.mark.sha256 not in known]


def read(path: Path) -> str:
    """Return the notebook's text; empty where there is none."""
    return files.read_text(path).replace("\r\n", "\n") if path.exists() else ""


def written_entries(text: str, path: Path) -> list[Written]:
    """Return the entries that carry a mark, in their order; other parts of the notebook are for people."""
    starts = [match.start() for match in _HEADING.finditer(text)]
    found = []
    for start, end in zip(starts, [*starts[1:], len(text)], strict=False):
        part = text[start:end]
        if (mark := _MARK.search(part)) is not None:
            line = text.count("\n", 0, start) + 1
            title = part.partition("\n")[0].removeprefix("## ").strip()
            found.append(Written(title, line, _mark(mark.group(1), path, line), part.rstrip("\n") + "\n"))
    return found


def _mark(text: str, path: Path, line: int) -> Mark:
    try:
        fields = json.loads(text)
        return Mark(
            sha256=str(fields["sha256"]),
            sessions=tuple(str(name) for name in fields["sessions"]),
            incumbent=None if fields["incumbent"] is None else str(fields["incumbent"]),
            policy_sha256=str(fields["policy_sha256"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnusableInput(f"{path}: line {line}: the evidence mark cannot be read ({error})") from None
