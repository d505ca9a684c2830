"""Gathers what `zmlx report` shows: matrix rows for the tables, and the capsules that the verdicts rest on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zmlx_bench.analysis import ratios
from zmlx_bench.analysis.decision import decide_group
from zmlx_bench.catalog import verified
from zmlx_bench.files import read_json
from zmlx_bench.ledger import matrix, promotions
from zmlx_bench.ledger.evidence_reader import Reader, Refusal, deciding, group_of, read_policy
from zmlx_bench.legacy.store import stored_imports
from zmlx_bench.legacy.verdict import LegacyVerdict, legacy_verdicts
from zmlx_bench.report.overview import FiguresOf, GroupOverview, overview
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.figures import Figures
from zmlx_bench.schema.matrix import MatrixRow
from zmlx_bench.workspace import Workspace


@dataclass(frozen=True)
class Report:
    """What a report shows."""

    groups: Sequence[GroupOverview]
    legacy: Sequence[LegacyVerdict]
    refusals: Sequence[Refusal]


def build(workspace: Workspace, family: str | None) -> Report:
    """Build the report of a workspace, or of one family of it."""
    policy = read_policy(workspace)
    rows = rows_of(workspace, family)
    incumbents = promotions.incumbents(promotions.read(workspace))
    reader = Reader(workspace, policy)
    evidence = deciding(reader, rows, incumbents, policy)
    decisions = {
        key: decide_group(group_of(loaded, incumbents.get(key)), policy) for key, loaded in evidence.items() if loaded
    }
    legacy = [v for v in legacy_verdicts(stored_imports(workspace)) if family in (None, v.family)]
    legacy.sort(key=lambda v: (v.verdict != "REJECT", v.family, v.variant))
    groups = overview(evidence, decisions, incumbents, policy, figures_in(workspace), rows, verified.read(workspace))
    return Report(groups, legacy, reader.refusals)


def rows_of(workspace: Workspace, family: str | None) -> list[MatrixRow]:
    """Return the rows of every session of a workspace, or of one family of it."""
    return [row for row in matrix.read_all(workspace) if family in (None, row.family)]


def figures_in(workspace: Workspace) -> FiguresOf:
    """Return what derives a capsule's figures from its raw runs, which an overview has not read."""

    def figures_of(capsule: str) -> Figures:
        return ratios.completed(read_json(workspace.root / capsule, Capsule))

    return figures_of
