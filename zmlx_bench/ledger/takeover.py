"""What stands in `LAB_NOTEBOOK.md` only moves to files in `notebook/`: sections written by hand, and old entries.

Before entries were files, each stood in `LAB_NOTEBOOK.md` under a comment that named its evidence. Its words are taken
as they are; its data is recomputed from the capsules that it names.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from zmlx_bench import files
from zmlx_bench.analysis.decision import RULE_OF_BYTES, decide_group
from zmlx_bench.errors import UnusableInput
from zmlx_bench.ledger import conflict, notebook
from zmlx_bench.ledger.entry import cited, decision_of
from zmlx_bench.ledger.evidence_reader import Reader, group_of
from zmlx_bench.ledger.notebook import Section
from zmlx_bench.schema.cited import CitedCapsule
from zmlx_bench.schema.entry import Entry, EntryDecision, prose_hash
from zmlx_bench.schema.policy import Policy
from zmlx_bench.schema.refused import first_error
from zmlx_bench.workspace import Workspace

_MARK = re.compile(r"^<!-- zmlx evidence: (\{.*\}) -->$", re.MULTILINE)
_STAMP = re.compile(r"\d{8}T\d{6}Z")
_OLD_OPENINGS = (
    "# Lab notebook\n\nEntries are written by `zmlx promote` from capsules and recomputed by `zmlx check`.",
    "# Lab notebook",
)
_LONGEST_SLUG = 60


@dataclass(frozen=True)
class Found:
    """An entry in the old form."""

    line: int
    """Line of its heading, from 1."""
    entry: Entry


def old_entries(text: str, path: Path, reader: Reader, policy: Policy) -> list[Found]:
    """Return the entries in the old form; UnusableInput where the comment of one cannot be read."""
    return [Found(s.line, _entry(s, path, reader, policy)) for s in notebook.split(text)[1] if is_old(s)]


def is_old(section: Section) -> bool:
    """Return whether a section is an entry in the old form."""
    return section.file is None and _MARK.search(section.text) is not None


def take_over(workspace: Workspace, reader: Reader, policy: Policy) -> list[str]:
    """Write a file for every section that stands in LAB_NOTEBOOK.md only; return their names.

    Where Git could not merge it, the sections of either side count. Nothing is written where an entry's comment cannot
    be read.
    """
    path = workspace.notebook
    first = not workspace.entries.is_dir()
    made: dict[str, bytes] = {}
    known = {entry.evidence_sha256 for entry in notebook.all_entries(workspace)}
    texts = {notebook.read_note(workspace, name) for name in notebook.names(workspace) if name.endswith(".md")}
    for text in conflict.sides(notebook.read(path)):
        opening, sections = notebook.split(text)
        if first and opening.strip() and opening.strip() not in (*_OLD_OPENINGS, notebook.OPENING.strip()):
            made[notebook.OPENING_FILE] = (opening.strip("\n") + "\n").encode()
        stamp = ""
        for section in sections:
            stamp = _stamp_of(section) or stamp
            if is_old(section):
                entry = _entry(section, path, reader, policy)
                if entry.evidence_sha256 not in known:
                    made[entry.file_name] = notebook.dump(entry)
                known.add(entry.evidence_sha256)
            elif section.file is None and section.text not in texts:
                texts.add(section.text)
                made[_note_name(section, stamp, {*made, *notebook.names(workspace)})] = section.text.encode()
    for name, data in made.items():
        files.write_atomic(workspace.entries / name, data)
    return sorted(made)


def _stamp_of(section: Section) -> str | None:
    """Return the time in the name of what a section shows, or in an experiment's title."""
    found = _STAMP.search(section.file or (section.title if section.title.startswith("EXP-") else ""))
    return None if found is None else found.group()


def _note_name(section: Section, stamp: str, taken: Iterable[str]) -> str:
    """Name a note so that it stands where it stood: after the entry above it, or by number above the first."""
    slug = re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-")[:_LONGEST_SLUG].rstrip("-") or "note"
    there = set(taken)
    for number in itertools.count(1):
        name = f"{stamp}-{slug}{f'-{number}' if number > 1 else ''}.md"
        if stamp and name not in there:
            return name
        if not stamp and not any(other.startswith(f"{number:04d}-") for other in there):
            return f"{number:04d}-{slug}.md"
    raise AssertionError


def _entry(section: Section, path: Path, reader: Reader, policy: Policy) -> Entry:
    """Return an entry in the old form as one of today's."""
    found = _MARK.search(section.text)
    assert found is not None
    lines = section.text.replace(found.group(), "", 1).rstrip("\n").split("\n")[1:]
    start = next((number for number, line in enumerate(lines) if line), len(lines))
    prose = tuple(lines[start:])
    try:
        mark = files.loads(found.group(1))
        sessions = [str(name) for name in mark["sessions"]]
        decision, figures = _recomputed(sessions, mark["incumbent"], mark["policy_sha256"], reader, policy)
        return Entry.model_validate(
            {
                "title": section.title,
                "sessions": sessions,
                "evidence_sha256": mark["sha256"],
                "incumbent": mark["incumbent"],
                "policy_sha256": mark["policy_sha256"],
                "decision": decision,
                "cited": figures,
                "prose": prose,
                "prose_sha256": prose_hash(prose),
            }
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UnusableInput(
            f"{path}: line {section.line}: the evidence mark cannot be read ({_reason(error)})"
        ) from None


def _recomputed(
    names: list[str], incumbent: str | None, policy_sha256: str, reader: Reader, policy: Policy
) -> tuple[EntryDecision | None, tuple[CitedCapsule, ...]]:
    """Return decision and figures of sessions; no decision under another policy, nothing where one does not stand."""
    known = set(reader.names())
    read = [reader.session(name) if name in known else None for name in names]
    sessions = [session for session in read if session is not None and session.capsules]
    if not sessions or len(sessions) < len(names) or len({session.key for session in sessions}) > 1:
        return None, ()
    if policy_sha256 != policy.sha256:
        return None, cited(sessions, None)
    decision = decision_of(decide_group(group_of(sessions, incumbent), policy, rule=RULE_OF_BYTES))
    return decision, cited(sessions, decision.verdicts)


def _reason(error: Exception) -> str:
    return first_error(error) if isinstance(error, ValidationError) else str(error)
