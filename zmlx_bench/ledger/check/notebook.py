"""The notebook: each entry's data recomputed from the sessions that it names, its words as they were sealed.

No sentence is compared with what today's code would write. LAB_NOTEBOOK.md must show what the files in `notebook/`
hold; what else stands there is for people.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from zmlx_bench.analysis.decision import RULE, decide_group
from zmlx_bench.errors import UnusableInput
from zmlx_bench.findings.compare import compare_models
from zmlx_bench.findings.finding import Finding, finding
from zmlx_bench.findings.reading import relative, unreadable
from zmlx_bench.ledger import conflict, entry, notebook, promotions
from zmlx_bench.ledger.evidence_reader import Reader, SessionCapsules, group_of
from zmlx_bench.ledger.takeover import old_entries
from zmlx_bench.schema.entry import Entry, prose_hash
from zmlx_bench.schema.policy import Policy
from zmlx_bench.schema.promotion import Promotions
from zmlx_bench.workspace import Workspace

_EXPERIMENT = re.compile(r"^## EXP-", re.MULTILINE)
_RATIO = re.compile(r"\b(\d+\.(\d+))x(?![A-Za-z0-9_])")


@dataclass(frozen=True)
class _Told:
    """An entry and where it stands."""

    file: str
    place: str
    """Before the field: empty in a file of its own, a line of LAB_NOTEBOOK.md for an entry in the old form."""
    entry: Entry

    def fault(self, field: str, message: str) -> Finding:
        return finding(self.file, self.place or field, f"{self.entry.title}: {message}")


def check_notebook(workspace: Workspace, reader: Reader, policy: Policy, promoted: Promotions) -> list[Finding]:
    """Return every fault of the notebook."""
    told, findings = _read(workspace, reader, policy)
    findings += _untold(workspace, told, promoted)
    seen: set[str] = set()
    stand: list[tuple[_Told, list[SessionCapsules]]] = []
    for one in told:
        if one.entry.evidence_sha256 in seen:
            findings.append(one.fault("evidence_sha256", "a second entry of the same evidence"))
        seen.add(one.entry.evidence_sha256)
        sessions, faults = _evidence(one, reader)
        findings += faults
        findings += _words(one)
        if sessions:
            findings += _recomputed(one, sessions, policy)
            stand.append((one, sessions))
    findings += _carried_out(stand, policy, promoted)
    return findings


def _read(workspace: Workspace, reader: Reader, policy: Policy) -> tuple[list[_Told], list[Finding]]:
    """Read the entries in their files and those in the old form, and compare LAB_NOTEBOOK.md with the files."""
    told: list[_Told] = []
    findings: list[Finding] = []
    texts: dict[str, str] = {}
    for name in notebook.names(workspace):
        path = workspace.entries / name
        file = relative(workspace.root, path)
        try:
            if name.endswith(".json"):
                found = notebook.read_entry(workspace, name)
                texts[name] = found.text
                told.append(_Told(file, "", found))
                if name != found.file_name:
                    findings.append(finding(file, "file", f"its content belongs to {found.file_name}"))
            else:
                texts[name] = notebook.read_note(workspace, name)
                for match in _EXPERIMENT.finditer(texts[name]):
                    line = texts[name].count("\n", 0, match.start()) + 1
                    findings.append(finding(file, f"line {line}", "an experiment without capsules behind it"))
        except UnusableInput as error:
            findings.append(unreadable(file, path, error))
    path = workspace.notebook
    file = relative(workspace.root, path)
    try:
        text = notebook.read(path)
        old = [_Told(file, f"line {one.line}", one.entry) for one in old_entries(text, path, reader, policy)]
    except UnusableInput as error:
        return told, [*findings, unreadable(file, path, error)]
    return [*told, *old], [*findings, *_shown(workspace, text, texts, {one.place for one in old}, file)]


def _shown(workspace: Workspace, text: str, texts: dict[str, str], old: set[str], file: str) -> Iterator[Finding]:
    """Compare LAB_NOTEBOOK.md with the files that it shows, in whatever order."""
    if conflict.conflicted(text):
        yield finding(file, "file", conflict.MESSAGE)
        return
    there = set(notebook.names(workspace))
    parts: dict[str, list[notebook.Section]] = {}
    for section in notebook.split(text)[1]:
        place = f"line {section.line}"
        if section.file is not None:
            parts.setdefault(section.file, []).append(section)
        elif place not in old and _EXPERIMENT.match(section.text):
            yield finding(file, place, f"{section.title}: an experiment without capsules behind it")
    for name, sections in parts.items():
        place = f"line {sections[0].line}"
        if name not in there:
            yield finding(file, place, f"shows notebook/{name}, which is missing: deleted")
        elif name in texts and "\n".join(s.text for s in sections) != notebook.shown(name, texts[name]):
            yield finding(file, place, f"is not what notebook/{name} holds; `zmlx promote` writes it again")
    for name in texts:
        if name not in parts and name != notebook.OPENING_FILE:
            yield finding(file, "file", f"does not show notebook/{name}; `zmlx promote` writes it again")


def _untold(workspace: Workspace, told: Sequence[_Told], promoted: Promotions) -> Iterator[Finding]:
    known = [set(one.entry.sessions) for one in told]
    for promotion in promoted.promotion:
        if not any(set(promotion.sessions) <= sessions for sessions in known):
            file = relative(workspace.root, workspace.notebook)
            yield finding(file, "entries", f"none tells of the promotion of {promotion.variant}: deleted")


def _evidence(one: _Told, reader: Reader) -> tuple[list[SessionCapsules], list[Finding]]:
    """Read the sessions that an entry names; none when not all of them stand."""
    names = one.entry.sessions
    if not names:
        return [], [one.fault("sessions", "an experiment without capsules behind it")]
    known = set(reader.names())
    found = {name: reader.session(name) if name in known else None for name in names}
    sessions = [session for session in found.values() if session is not None and session.capsules]
    if len(sessions) < len(names):
        lost = [name for name, session in found.items() if session is None or not session.capsules]
        missing = (f"figures without capsules: session {name} is missing or does not stand" for name in lost)
        return [], [one.fault("sessions", message) for message in missing] or [one.fault("sessions", "named twice")]
    if len({session.key for session in sessions}) > 1:
        return [], [one.fault("sessions", "its sessions are of different groups")]
    return sessions, []


def _words(one: _Told) -> Iterator[Finding]:
    """An entry's words are those that were sealed, and each ratio in their tables is a figure of its data."""
    told = one.entry
    if prose_hash(told.prose) != told.prose_sha256:
        yield one.fault("prose_sha256", "its words are not those that were hashed: edited after they were written")
    if told.decision is None:
        return
    figures = [capsule.speedup for capsule in told.cited if capsule.speedup is not None]
    for number, line in enumerate(told.prose):
        for ratio, decimals in _RATIO.findall(line) if line.startswith("|") else ():
            if not any(f"{figure:.{len(decimals)}f}" == ratio for figure in figures):
                yield one.fault(f"prose[{number}]", f"says {ratio}x, which is no figure of its capsules")


def _recomputed(one: _Told, sessions: list[SessionCapsules], policy: Policy) -> Iterator[Finding]:
    """Recompute an entry's data; what was decided only under the policy and the rule that decided it."""
    told = one.entry
    if told.evidence_sha256 != entry.evidence_hash(sessions):
        yield one.fault("evidence_sha256", "its capsules are no longer those it was written from")
    named = tuple(session.evidence.session for session in entry.latest_first(sessions))
    if told.sessions != named:
        yield one.fault("sessions", "are not in their order, latest first")
    if not told.title.startswith(entry.title_of(entry.latest_first(sessions))):
        yield one.fault("title", f"the capsules give {entry.title_of(entry.latest_first(sessions))}")
    decided = told.decision
    rule = RULE if decided is None else decided.rule
    if told.policy_sha256 == policy.sha256 and rule <= RULE:
        expected = entry.decision_of(decide_group(group_of(sessions, told.incumbent), policy, rule=rule))
        if decided is None:
            yield one.fault("decision", "is missing: deleted")
        else:
            yield from _compared(one, "decision", decided, expected)
    elif decided is not None and decided.rule > RULE:
        yield one.fault("decision.rule", f"{decided.rule} is newer than this zmlx knows ({RULE}); update zmlx")
    cited = entry.cited(entry.latest_first(sessions), None if decided is None else decided.verdicts)
    if [c.capsule for c in told.cited] != [c.capsule for c in cited]:
        yield one.fault("cited", "are not the capsules that its verdicts rest on")
        return
    for index, (mine, theirs) in enumerate(zip(told.cited, cited, strict=True)):
        yield from _compared(one, f"cited[{index}]", mine, theirs)


def _compared(one: _Told, field: str, mine: BaseModel, theirs: BaseModel) -> Iterator[Finding]:
    for fault in compare_models(one.file, field, mine, theirs, "the capsules give"):
        yield one.fault(fault.field, fault.message) if one.place else fault


def _carried_out(
    stand: Sequence[tuple[_Told, list[SessionCapsules]]], policy: Policy, promoted: Promotions
) -> Iterator[Finding]:
    """The default of a group is what its last entry decided, or what the present rule does of the same sessions.

    Under a changed policy it may have been decided again. Last is an entry whose evidence no other one extends.
    """
    defaults = promotions.incumbents(promoted)
    for one, sessions in stand:
        told = one.entry
        if told.decision is None or told.policy_sha256 != policy.sha256:
            continue
        if any(set(told.sessions) < set(other.entry.sessions) for other, _ in stand):
            continue
        default = defaults.get(sessions[0].key)
        if told.decision.recommended == default:
            continue
        now = promotions.outcome(sessions, policy).promotion
        if default != (now.variant if now else None):
            decided = told.decision.recommended or "the stock model"
            yield one.fault("decision", f"decided for {decided}, promoted.toml has {default or 'none'}")
