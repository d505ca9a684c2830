"""`LAB_NOTEBOOK.md`: every entry written again from the sessions that its mark names, and compared line by line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from zmlx_bench.analysis.decision.evidence import GroupKey
from zmlx_bench.analysis.decision.group import decide_group
from zmlx_bench.errors import UnusableInput
from zmlx_bench.findings.finding import Finding, finding
from zmlx_bench.findings.reading import relative, unreadable
from zmlx_bench.ledger import notebook, promotions
from zmlx_bench.ledger.entry import entry_of
from zmlx_bench.ledger.evidence_reader import Reader, SessionCapsules, group_of
from zmlx_bench.ledger.notebook import Written
from zmlx_bench.schema.policy import Policy
from zmlx_bench.schema.promotion import Promotions
from zmlx_bench.workspace import Workspace

_EXPERIMENT = re.compile(r"^## EXP-")
_OF_THE_POLICY = re.compile(
    r"^(<!-- zmlx evidence|\*\*Decision\.|- `[^`]*`: (PROMOTE|CANDIDATE|HOLD|INCONCLUSIVE|REJECT))"
)
"""Lines that another policy would write otherwise."""
_OF_ITS_LEVEL = re.compile(r"^(\*\*Key results\.|\| )")
"""Lines that another interval level or other budgets would write otherwise."""


def check_notebook(workspace: Workspace, reader: Reader, policy: Policy, promoted: Promotions) -> list[Finding]:
    """Return every fault of the notebook; text outside its entries is for people and is not read."""
    path = workspace.notebook
    file = relative(workspace.root, path)
    try:
        text = notebook.read(path)
        entries = notebook.written_entries(text, path)
    except UnusableInput as error:
        return [unreadable(file, path, error)]
    findings = [*_headings(text, entries, file), *_promotions(entries, promoted, file)]
    known = set(reader.names())
    seen: set[str] = set()
    last: dict[GroupKey, tuple[Written, list[SessionCapsules]]] = {}
    for entry in entries:
        if entry.mark.sha256 in seen:
            findings.append(finding(file, f"line {entry.line}", f"{entry.title}: a second entry of the same evidence"))
        seen.add(entry.mark.sha256)
        loaded, faults = _evidence(entry, reader, known, file)
        findings += faults
        if loaded:
            findings += _rewritten(entry, loaded, policy, file)
            last[loaded[0].key] = (entry, loaded)
    for key, (entry, loaded) in last.items():
        findings += _carried_out(entry, loaded, promotions.incumbents(promoted).get(key), policy, file)
    return findings


def _headings(text: str, entries: Sequence[Written], file: str) -> Iterator[Finding]:
    marked = {entry.line for entry in entries}
    for number, line in enumerate(text.split("\n"), start=1):
        if _EXPERIMENT.match(line) and number not in marked:
            yield finding(file, f"line {number}", f"{line[3:]}: an experiment without capsules behind it")


def _promotions(entries: Sequence[Written], promoted: Promotions, file: str) -> Iterator[Finding]:
    told = [set(entry.mark.sessions) for entry in entries]
    for promotion in promoted.promotion:
        if not any(set(promotion.sessions) <= sessions for sessions in told):
            yield finding(file, "entries", f"none tells of the promotion of {promotion.variant}: deleted")


def _evidence(
    entry: Written, reader: Reader, known: set[str], file: str
) -> tuple[list[SessionCapsules], list[Finding]]:
    """Read the sessions that an entry names; none when not all of them stand."""
    place = f"line {entry.line}"
    if not entry.mark.sessions:
        return [], [finding(file, place, f"{entry.title}: an experiment without capsules behind it")]
    found = {name: reader.session(name) if name in known else None for name in entry.mark.sessions}
    loaded = [session for session in found.values() if session is not None and session.capsules]
    if len(loaded) < len(found):
        lost = [name for name, session in found.items() if session is None or not session.capsules]
        head = f"{entry.title}: figures without capsules"
        return [], [finding(file, place, f"{head}: session {name} is missing or does not stand") for name in lost]
    if len({session.key for session in loaded}) > 1:
        return [], [finding(file, place, f"{entry.title}: its sessions are of different groups")]
    return loaded, []


def _carried_out(
    entry: Written, loaded: Sequence[SessionCapsules], default: str | None, policy: Policy, file: str
) -> Iterator[Finding]:
    """The default of a group is what its last entry decided; under a changed policy it may have been decided again."""
    decided = decide_group(group_of(loaded, entry.mark.incumbent), policy).recommended
    if entry.mark.policy_sha256 == policy.sha256 and decided != default:
        message = f"{entry.title}: decided for {decided or 'the stock model'}, promoted.toml has {default or 'none'}"
        yield finding(file, f"line {entry.line}", message)


def _rewritten(entry: Written, loaded: Sequence[SessionCapsules], policy: Policy, file: str) -> Iterator[Finding]:
    """Write an entry again and compare."""
    expected = entry_of(loaded, entry.mark.incumbent, policy)
    if entry.mark.sha256 != expected.mark.sha256:
        yield finding(
            file, f"line {entry.line}", f"{entry.title}: its capsules are no longer those it was written from"
        )
    changed = entry.mark.policy_sha256 != policy.sha256
    yield from _lines(entry, entry.text.splitlines(), expected.text.splitlines(), changed, file)


def _lines(
    entry: Written, mine: Sequence[str], theirs: Sequence[str], policy_changed: bool, file: str
) -> Iterator[Finding]:
    """Compare line by line; under a changed policy only what both policies must write alike."""
    levels = [[line for line in lines if _OF_ITS_LEVEL.match(line)][:2] for lines in (mine, theirs)]
    for tag, start, end, other, other_end in SequenceMatcher(None, mine, theirs, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        for index in range(max(end - start, other_end - other)):
            line = mine[start + index] if start + index < end else ""
            expected = theirs[other + index] if other + index < other_end else ""
            either = line or expected
            if policy_changed and (
                _OF_THE_POLICY.match(either) or (_OF_ITS_LEVEL.match(either) and levels[0] != levels[1])
            ):
                continue
            number = entry.line + min(start + index, len(mine) - 1)
            yield finding(
                file, f"line {number}", f"{entry.title}: says {_short(line)}, the capsules give {_short(expected)}"
            )


def _short(line: str) -> str:
    return f"'{line[:100]}'" if line else "nothing"
