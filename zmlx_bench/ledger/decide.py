"""Applies the policy to the evidence of a workspace; writes nothing unless told to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zmlx_bench.analysis.decision import GroupDecision, GroupKey, decide_group
from zmlx_bench.errors import UnusableInput
from zmlx_bench.ledger import conflict, matrix, notebook, promotions
from zmlx_bench.ledger.check import weights
from zmlx_bench.ledger.check.capsule import check_capsule_file
from zmlx_bench.ledger.check.session import check_links, read_session
from zmlx_bench.ledger.entry import entry_of
from zmlx_bench.ledger.evidence_reader import Reader, Refusal, SessionCapsules, everything, group_of, read_policy
from zmlx_bench.ledger.takeover import take_over
from zmlx_bench.schema.entry import Entry
from zmlx_bench.schema.policy import Policy
from zmlx_bench.schema.promotion import Promotions
from zmlx_bench.workspace import Workspace


@dataclass(frozen=True)
class Decided:
    """What the evidence of a workspace says."""

    policy: Policy
    evidence: Mapping[GroupKey, Sequence[SessionCapsules]]
    decisions: Mapping[GroupKey, GroupDecision]
    """What made the default of a group another one; beside a default that stays, what is said of it now, as
    `zmlx report` says it."""
    stood: Promotions | None
    """What `promoted.toml` holds; None where Git could not merge it."""
    after: Promotions
    entries: tuple[Entry, ...]
    """One a group whose sessions stand whole; those that the notebook has are not written again."""
    refusals: tuple[Refusal, ...]
    """Files that are not used as evidence."""

    @property
    def before(self) -> Promotions:
        """The promotions that can be read now."""
        return self.stood or Promotions()


@dataclass(frozen=True)
class Recorded:
    """What recording a decision changed."""

    promotions: bool
    entries: tuple[str, ...] = ()
    """Titles of the new notebook entries."""
    taken_over: tuple[str, ...] = ()
    """Files in `notebook/` made of what stood in LAB_NOTEBOOK.md only."""


def decide(workspace: Workspace, family: str | None, *, rehash: bool = False) -> Decided:
    """Decide every group (of a family) from the evidence that stands up to a check.

    With `rehash` the weights that are here are hashed again, and sessions of others are not used.
    """
    policy, stood = read_policy(workspace), promotions.standing(workspace)
    if stood is None and family is not None:
        raise UnusableInput(f"{promotions.path_of(workspace)}: {conflict.MESSAGE}, without a family")
    reader = Reader(workspace, policy)
    checked: set[str] = set()
    while True:
        evidence = everything(reader, family)
        names = {s.evidence.session for found in evidence.values() for s in found} - checked
        faults = list(_faults(workspace, sorted(names), rehash=rehash))
        checked |= names
        if not faults:
            break
        reader.refuse(faults)
    outcomes = {key: promotions.outcome(found, policy) for key, found in evidence.items()}
    refused = {Path(refusal.file).parent.name for refusal in reader.refusals}
    entries = tuple(
        entry_of(found, outcomes[key].incumbent, outcomes[key].decision, policy)
        for key, found in sorted(evidence.items(), key=lambda found: found[0].order)
        if not refused.intersection(session.evidence.session for session in found)
    )
    before = stood or Promotions()
    after = promotions.after(before, outcomes, evidence)
    stays = promotions.incumbents(Promotions(promotion=tuple(p for p in after.promotion if p in before.promotion)))
    decisions = {
        key: decide_group(group_of(evidence[key], stays[key]), policy) if key in stays else found.decision
        for key, found in outcomes.items()
    }
    refusals = (*reader.refusals, *_gone(workspace, family))
    return Decided(policy, evidence, decisions, stood, after, entries, refusals)


def record(workspace: Workspace, decided: Decided) -> Recorded:
    """Write the matrix, `promoted.toml` and the notebook from the evidence; what stands there already is left alone."""
    matrix.write(workspace)
    changed = promotions.write(workspace, decided.stood, decided.after)
    taken_over = take_over(workspace, Reader(workspace, decided.policy), decided.policy)
    new = notebook.write(workspace, decided.entries)
    return Recorded(changed, tuple(entry.title for entry in new), tuple(taken_over))


def _gone(workspace: Workspace, family: str | None) -> Iterator[Refusal]:
    """Yield the sessions of which the matrix has rows and nothing else is here: no decision knows what they said."""
    try:
        rows = matrix.read(workspace.matrix)
    except UnusableInput:
        return  # It is no evidence, and is written again.
    for name in sorted({row.session for row in rows if family in (None, row.family)}):
        if not workspace.session(name).exists():
            yield Refusal(f"capsules/{name}", "is missing, though matrix.jsonl has its rows: nothing rests on it")


def _faults(workspace: Workspace, sessions: Iterable[str], *, rehash: bool) -> Iterable[Refusal]:
    """Check sessions as `zmlx check` does, without the matrix, which is no evidence."""
    root = workspace.root
    reads = [read_session(root, workspace.session(name)) for name in sessions]
    others = weights.rehash(workspace, reads).findings if rehash else ()
    yield from (Refusal(finding.file, f"{finding.field}: {finding.message}") for finding in others)
    for found in reads:
        capsules = [check_capsule_file(root, path, found.session) for path in found.capsules]
        findings = [*found.findings, *(f for c in capsules for f in c.findings), *check_links(root, found, capsules)]
        for finding in findings:
            yield Refusal(finding.file, f"{finding.field}: {finding.message}")
