"""What speaks against the default of one group, from the sessions that tell of it alone: for who is about to use it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from zmlx_bench.analysis.decision import GroupKey, decide_group
from zmlx_bench.analysis.decision.adapter import key_of_row
from zmlx_bench.ledger import matrix, promotions
from zmlx_bench.ledger.evidence_reader import Reader, deciding, group_of, read_policy
from zmlx_bench.report.overview import overview
from zmlx_bench.schema.matrix import MatrixRow
from zmlx_bench.schema.promotion import Promotion
from zmlx_bench.workspace import Workspace


def of_default(workspace: Workspace, promotion: Promotion, key: GroupKey) -> str | None:
    """Say which sessions of the group `key` speak against what is promoted, as a report of it does, and which command
    measures it again; None where none does. UnusableInput for a matrix or a policy that cannot be read."""
    rows = [row for row in matrix.read_all(workspace) if key_of_row(row) == key]
    telling, incumbents = _telling(rows, promotion.variant), {promotions.key_of(promotion): promotion.variant}
    if not telling:
        return None
    policy = read_policy(workspace)
    loaded = deciding(Reader(workspace, policy), telling, incumbents, policy)[key]
    if not loaded:
        return None
    decision = decide_group(group_of(loaded, incumbents.get(key)), policy)
    alone = replace(decision, verdicts=tuple(v for v in decision.verdicts if v.variant == promotion.variant))
    # Of the figures nothing is shown, so that what the capsules say themselves will do.
    stated = {path: capsule.figures for session in loaded for path, capsule in session.capsules.items()}
    (group,) = overview({key: loaded}, {key: alone}, incumbents, policy, stated.__getitem__)
    if group.doubt is not None:
        again = f"`{group.next_runs[0]}` measures it again" if group.next_runs else f"`zmlx report {key.family}` tells"
        return f"{group.doubt}; {again}"
    for line in group.lines:
        if line.verdict == "REJECT":
            # What is recommended in its place rests on sessions that were not read here.
            what = f"{line.variant} was rejected in session {line.session} ({line.reason}): {line.why}"
            return f"{what}; `zmlx report {key.family}` says what is recommended now"
    return None


def _telling(rows: Sequence[MatrixRow], default: str) -> list[MatrixRow]:
    """Return the rows of the default, and of what said other tokens and may have its code."""
    codes = {row.identity for row in rows if row.variant == default}
    return [row for row in rows if row.variant == default or (row.fidelity == "diverged" and _may_be(row, codes))]


def _may_be(row: MatrixRow, codes: Collection[str | None]) -> bool:
    # Which code it was stands in old capsules only, not in their rows.
    return row.identity is None or None in codes or row.identity in codes
