"""What was decided from the evidence: promotions and the notebook, read from the evidence that stands."""

from __future__ import annotations

from collections.abc import Sequence

from zmlx_bench.errors import UnusableInput
from zmlx_bench.findings.finding import Finding
from zmlx_bench.findings.reading import relative, unreadable
from zmlx_bench.ledger import promotions
from zmlx_bench.ledger.check import policy as policies
from zmlx_bench.ledger.check.notebook import check_notebook
from zmlx_bench.ledger.check.promotions import check_promotions
from zmlx_bench.ledger.check.standing import notes
from zmlx_bench.ledger.evidence_reader import POLICY_FILE, Reader, Refusal, everything, read_policy
from zmlx_bench.schema.promotion import Promotions
from zmlx_bench.workspace import Workspace


def check_decisions(workspace: Workspace, faults: Sequence[Finding]) -> tuple[list[Finding], list[str]]:
    """Check promotions and notebook; evidence with `faults` is none. Without any of them nothing is checked.

    Returns the findings, and in words where the policy is not zmlx's own and what of the evidence does not count for
    today's code.
    """
    root, path = workspace.root, promotions.path_of(workspace)
    findings: list[Finding] = []
    found = Promotions()
    try:
        found = promotions.read(workspace)
    except UnusableInput as error:
        findings.append(unreadable(relative(root, path), path, error))
    if not found.promotion and not workspace.notebook.exists() and not workspace.entries.exists():
        return findings, []
    try:
        policy = read_policy(workspace)
    except UnusableInput as error:
        file = workspace.variants / POLICY_FILE
        return [*findings, unreadable(relative(root, file), file, error)], []
    reader = Reader(workspace, policy)
    reader.refuse(Refusal(fault.file, fault.message) for fault in faults)
    findings += check_promotions(workspace, found, reader, policy)
    findings += check_notebook(workspace, reader, policy, found)
    return findings, [*policies.notes(policy), *notes(workspace, everything(reader, None), found, policy)]
