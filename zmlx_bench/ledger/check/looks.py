"""A session that was planned with looks stopped at the first one at which its capsules say that it might."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zmlx_bench.analysis.decision import SessionEvidence, within
from zmlx_bench.analysis.decision.stopping import failed, seen_until, undecided
from zmlx_bench.errors import UnusableInput
from zmlx_bench.findings.finding import Finding, finding
from zmlx_bench.findings.reading import relative, unreadable
from zmlx_bench.ledger import capsules as capsule_files
from zmlx_bench.ledger.check.session import ReadSession
from zmlx_bench.ledger.evidence_reader import POLICY_FILE, Reader, Refusal, read_policy
from zmlx_bench.schema.policy import Policy
from zmlx_bench.schema.session import Session
from zmlx_bench.workspace import SESSION_FILE, Workspace


def check_stops(workspace: Workspace, sessions: Sequence[ReadSession], faults: Sequence[Finding]) -> list[Finding]:
    """Return every fault of where sessions stopped; evidence with `faults` is none."""
    planned = [read for read in sessions if read.session is not None and read.session.plan.looks]
    if not planned:
        return []
    try:
        policy = read_policy(workspace)
    except UnusableInput as error:
        file = workspace.variants / POLICY_FILE
        return [unreadable(relative(workspace.root, file), file, error)]
    reader = Reader(workspace, policy)
    reader.refuse(Refusal(fault.file, fault.message) for fault in faults)
    found: list[Finding] = []
    for read in planned:
        loaded = reader.session(read.folder.name)
        if read.session is not None and loaded is not None:
            named = relative(workspace.root, read.folder / SESSION_FILE)
            # What a reader keeps of a capsule is not enough to see it against another baseline.
            whole = ((path, capsule_files.read(workspace.root / path)) for path in loaded.capsules)
            evidence = within.rebased(read.session, whole, policy) or loaded.evidence
            found += _check(read.session, named, evidence, policy)
    return found


def _check(session: Session, file: str, evidence: SessionEvidence, policy: Policy) -> Iterator[Finding]:
    """A variant that failed in the end is left out: its capsules do not tell whether it had failed at a look.

    Under another policy than the one that was asked nothing can be said.
    """
    plan, stopped = session.plan, session.stopped
    if stopped is None:
        yield finding(file, "stopped", "is missing, though the session was planned with looks")
        return
    if stopped.blocks not in plan.looks:
        yield finding(file, "stopped.blocks", f"{stopped.blocks} is no look of the session's plan")
        return
    if (stopped.why == "most") and stopped.blocks < plan.blocks:
        yield finding(file, "stopped.why", f"says most, the plan has {plan.blocks} blocks")
    if (stopped.why == "decided") == bool(stopped.undecided):
        yield finding(file, "stopped.undecided", "does not go with why the session stopped")
    if stopped.policy_sha256 != policy.sha256:
        return
    alive = {arm.variant for arm in evidence.arms if not failed(arm, policy)}
    for blocks in plan.looks:
        left = {name for name in undecided(seen_until(evidence, blocks), policy) if name in alive}
        if blocks < stopped.blocks and alive and not left:
            yield finding(file, "stopped.blocks", f"says {stopped.blocks}, all was decided after {blocks}")
            return
        if blocks == stopped.blocks and left != set(stopped.undecided) & alive:
            names = ", ".join(sorted(left)) or "none"
            yield finding(file, "stopped.undecided", f"the capsules give {names}")
