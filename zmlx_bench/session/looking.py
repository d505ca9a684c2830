"""Asks the decision at each look of a session whether it may stop, and writes the answer into `session.json`."""

from __future__ import annotations

from zmlx_bench.analysis.decision import within
from zmlx_bench.analysis.decision.adapter import session_evidence
from zmlx_bench.analysis.decision.stopping import stop
from zmlx_bench.errors import UnusableInput
from zmlx_bench.ledger.evidence_reader import read_policy
from zmlx_bench.schema.base import utc_now
from zmlx_bench.schema.policy import Policy
from zmlx_bench.schema.session import Session, Stopped
from zmlx_bench.session import capsules, store
from zmlx_bench.session.log import finished
from zmlx_bench.session.records import runs_of
from zmlx_bench.session.request import Request
from zmlx_bench.workspace import Workspace


def first(workspace: Workspace, request: Request) -> int | None:
    """Return the fewest blocks that may decide everything; None without looks, UnusableInput where nothing would be."""
    if not request.until_decided:
        return None
    least = read_policy(workspace).min_blocks
    missing = sorted(set(least) - set(request.tokens))
    if missing and request.contrast is None:
        wanted = " ".join(f"--tokens {budget}" for budget in sorted(least))
        raise UnusableInput(f"--until-decided: nothing is decided without {missing[0]} tokens; ask for {wanted}")
    fewest = max(least.values())
    if request.most_blocks < fewest:
        raise UnusableInput(f"--at-most {request.most_blocks}: the policy decides nothing below {fewest} blocks")
    return fewest


def look(workspace: Workspace, session: Session, policy: Policy, blocks: int) -> Session:
    """Return the session as it stands after `blocks` blocks: stopped, and written so, where it may stop."""
    found = at(workspace, session, policy, blocks)
    return session if found is None else store.write(workspace, session.model_copy(update={"stopped": found}))


def at(workspace: Workspace, session: Session, policy: Policy, blocks: int) -> Stopped | None:
    """Return how the session stops after `blocks` blocks; None where it goes on."""
    here = Stopped(blocks=blocks, why="most", undecided=(), policy_sha256=policy.sha256)
    seen = session.model_copy(update={"stopped": here})
    runs, outputs = runs_of(seen.plan, finished(store.events_path(workspace, session.session)))
    # A session that is resumed looks again, and must see what it saw: no process of a later block.
    timed = [run for run in runs if run.block is not None and run.block <= blocks]
    built = capsules.build(seen, timed, outputs, ended=utc_now())
    named = [(f"look after {blocks} blocks", capsule) for capsule in built]
    rebased = within.rebased(seen, named, policy)
    evidence = session_evidence(seen, named, policy, {}) if rebased is None else rebased
    found = stop(evidence, policy)
    if found is None or (found.why == "futile" and session.extended):
        # Somebody who took it up again wants the blocks that are left.
        return None
    return here.model_copy(update={"why": found.why, "undecided": found.undecided})
