"""Applies the policy to the evidence of a workspace; writes nothing unless told to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from zmlx_bench.analysis.decision import GroupDecision, GroupKey, decide_group
from zmlx_bench.ledger import notebook, promotions
from zmlx_bench.ledger.bodies import Loaded, Reader, Refusal, everything, group_of, read_policy
from zmlx_bench.ledger.check.capsule import check_capsule_file
from zmlx_bench.ledger.check.session import check_links, read_session
from zmlx_bench.ledger.entry import Entry, entry_of
from zmlx_bench.schema.policy import Policy
from zmlx_bench.schema.promotion import Promotions
from zmlx_bench.workspace import Workspace


@dataclass(frozen=True)
class Decided:
    """What the evidence of a workspace says."""

    policy: Policy
    evidence: Mapping[GroupKey, Sequence[Loaded]]
    decisions: Mapping[GroupKey, GroupDecision]
    before: Promotions
    after: Promotions
    entries: tuple[Entry, ...]
    """One a group; those that the notebook has are not written again."""
    refusals: tuple[Refusal, ...]
    """Files that are not used as evidence."""


@dataclass(frozen=True)
class Recorded:
    """What recording a decision changed."""

    promotions: bool
    entries: tuple[str, ...]
    """Titles of the new notebook entries."""


def decide(workspace: Workspace, family: str | None) -> Decided:
    """Decide every group (of a family) from the evidence that stands up to a check."""
    policy, before = read_policy(workspace), promotions.read(workspace)
    incumbents = promotions.incumbents(before)
    reader = Reader(workspace, policy)
    checked: set[str] = set()
    while True:
        evidence = everything(reader, family)
        decisions = {key: decide_group(group_of(found, incumbents.get(key)), policy) for key, found in evidence.items()}
        names = {s.evidence.session for found in evidence.values() for s in found} - checked
        faults = list(_faults(workspace, sorted(names)))
        checked |= names
        if not faults:
            break
        reader.refuse(faults)
    after = promotions.after(before, decisions, evidence, policy)
    entries = tuple(
        entry_of(found, incumbents.get(key), policy)
        for key, found in sorted(evidence.items(), key=lambda found: found[0].order)
    )
    return Decided(policy, evidence, decisions, before, after, entries, reader.refusals)


def record(workspace: Workspace, decided: Decided) -> Recorded:
    """Write `promoted.toml` and the notebook; what stands there already is left alone."""
    changed = promotions.write(workspace, decided.before, decided.after)
    new = notebook.append(workspace.notebook, decided.entries)
    return Recorded(changed, tuple(entry.title for entry in new))


def _faults(workspace: Workspace, sessions: Iterable[str]) -> Iterable[Refusal]:
    """Check sessions as `zmlx check` does, without the matrix, which is no evidence."""
    root = workspace.root
    for name in sessions:
        found = read_session(root, workspace.session(name))
        capsules = [check_capsule_file(root, path, found.session) for path in found.capsules]
        findings = [*found.findings, *(f for c in capsules for f in c.findings), *check_links(root, found, capsules)]
        for finding in findings:
            yield Refusal(finding.file, f"{finding.field}: {finding.message}")
