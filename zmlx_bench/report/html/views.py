"""What the templates read: groups, variants, sessions and budgets, each with its charts and links."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import numpy as np

from zmlx_bench.analysis.decision import Gate
from zmlx_bench.analysis.decision.statistics import estimate, floor_of
from zmlx_bench.errors import UnusableInput
from zmlx_bench.files import read_json, refuse_outside
from zmlx_bench.report import words
from zmlx_bench.report.html import capsules as parts
from zmlx_bench.report.html import charts
from zmlx_bench.report.measures import Measure, beside, of_capsule, titles
from zmlx_bench.report.overview import GroupOverview, Line
from zmlx_bench.report.overview_text import surroundings, title
from zmlx_bench.schema.capsule import Capsule
from zmlx_bench.schema.figures import Ratio
from zmlx_bench.schema.matrix import MatrixRow
from zmlx_bench.schema.policy import Policy
from zmlx_bench.schema.session import Session
from zmlx_bench.workspace import SESSION_FILE, Workspace

Model = TypeVar("Model", Capsule, Session)


@dataclass
class Charts:
    """The figures of a page by the id of the element that shows them."""

    figures: dict[str, charts.Figure] = field(default_factory=dict)

    def add(self, figure: charts.Figure) -> str:
        """Keep a figure and return its id."""
        name = f"chart-{len(self.figures) + 1}"
        self.figures[name] = figure
        return name

    def height(self, name: str) -> int:
        """Return the height of a chart in pixels."""
        return int(self.figures[name]["layout"]["height"])


@dataclass(frozen=True)
class Link:
    """A file that the page names, with its address where there is such a file."""

    text: str
    href: str | None


@dataclass(frozen=True)
class BudgetView:
    """One capsule."""

    capsule: Capsule
    link: Link | None
    latency: str | None
    """Id of the chart."""
    together: int
    """Token positions that make one point of it."""
    measures: Sequence[Measure]
    """What was measured beside decode speed."""
    memory: Sequence[parts.MemoryLine]
    conditions: str
    """Those that are not as by default."""
    provenance: Sequence[tuple[str, str]]
    failures: Sequence[str]


@dataclass(frozen=True)
class GateView:
    """A gate with links to what it rests on."""

    gate: Gate
    links: Sequence[Link]


@dataclass(frozen=True)
class VariantView:
    """A variant of a group."""

    id: str
    rank: int
    line: Line
    cells: Mapping[int, MatrixRow]
    links: Mapping[str, Link]
    """Of its cells' capsules, by path."""
    budgets: Sequence[BudgetView]
    gates: Sequence[GateView]


@dataclass(frozen=True)
class SessionView:
    """A session: its charts by budget, and each arm's block order."""

    name: str
    ended: str | None
    charts: Sequence[tuple[int, str]]
    """Budget and chart."""


@dataclass(frozen=True)
class GroupView:
    """A group."""

    id: str
    title: str
    conditions: str
    """Those that are not the default ones; empty where all are."""
    surroundings: str
    """What else its evidence does not cross."""
    overview: GroupOverview
    budgets: Sequence[int]
    energy: bool
    """Whether the energy of any of its cells is known."""
    beside: Sequence[str]
    """Titles of what was measured beside decode speed."""
    forest: str | None
    variants: Sequence[VariantView]
    sessions: Sequence[SessionView]


class Builder:
    """Makes the views of one page; each capsule is read once."""

    def __init__(self, workspace: Workspace, policy: Policy, beside: Path, found: Charts) -> None:
        """`beside` is the folder of the page: links lead from it."""
        self._workspace, self._policy, self._beside, self._charts = workspace, policy, beside, found
        self._capsules: dict[str, Capsule | None] = {}

    def group(self, number: int, overview: GroupOverview) -> GroupView:
        """Return one group of the report."""
        names = {name for line in overview.lines for name in (line.session, *line.sessions)}
        sessions = [view for name in sorted(names, reverse=True) if (view := self._session(name)) is not None]
        return GroupView(
            id=f"group-{number}",
            title=title(overview),
            conditions=", ".join(words.conditions(overview.key.conditions)),
            surroundings=", ".join(surroundings(overview.key)),
            overview=overview,
            budgets=sorted({cell.tokens for line in overview.lines for cell in line.cells}),
            energy=any(cell.energy_j_per_token is not None for line in overview.lines for cell in line.cells),
            beside=titles(found for line in overview.lines for found in line.measures.values()),
            forest=self._forest(overview),
            variants=[self._variant(number, rank, line) for rank, line in enumerate(overview.lines, start=1)],
            sessions=sessions,
        )

    def _variant(self, number: int, rank: int, line: Line) -> VariantView:
        read = [(cell.capsule, capsule) for cell in line.cells if (capsule := self._capsule(cell.capsule))]
        return VariantView(
            id=f"group-{number}-variant-{rank}",
            rank=rank,
            line=line,
            cells={cell.tokens: cell for cell in line.cells},
            links={cell.capsule: self.link(cell.capsule) for cell in line.cells},
            budgets=[budget(capsule, self.link(path), self._charts) for path, capsule in read],
            gates=[GateView(gate, [self.link(path) for path in gate.capsules]) for gate in line.gates],
        )

    def _forest(self, overview: GroupOverview) -> str | None:
        rows: list[charts.ForestRow] = []
        nulls: dict[tuple[str, int], Ratio] = {}
        for line in overview.lines:
            for cell in line.cells:
                capsule = self._capsule(cell.capsule)
                if capsule is None or capsule.figures.speedup is None:
                    continue
                null = capsule.figures.null
                if null is not None:
                    nulls[line.session, cell.tokens] = null
                stock = None if null is None else estimate(null.logs, capsule.protocol.estimator)
                floor = floor_of(stock, self._policy.min_gain)
                ratio = capsule.figures.speedup
                rows.append(charts.ForestRow(line.variant, cell.tokens, ratio, float(np.exp(floor))))
        if not rows:
            return None
        several = len({session for session, _ in nulls}) > 1
        for (session, tokens), null in sorted(nulls.items()):
            label = f"null arm {session[-4:]}" if several else "null arm"
            rows.append(charts.ForestRow(label, tokens, null, None, is_null=True))
        return self._charts.add(charts.forest(rows))

    def _session(self, name: str) -> SessionView | None:
        head = self._read(f"capsules/{name}/{SESSION_FILE}", Session)
        if head is None:
            return None
        found = [c for ref in head.capsules if (c := self._capsule(f"capsules/{name}/{ref.file}")) is not None]
        by_budget: dict[int, list[Capsule]] = {}
        for capsule in found:
            by_budget.setdefault(capsule.tokens, []).append(capsule)
        shown = [(tokens, self._charts.add(block_chart(together))) for tokens, together in sorted(by_budget.items())]
        return SessionView(name, head.ended, shown) if shown else None

    def _capsule(self, path: str) -> Capsule | None:
        if path not in self._capsules:
            self._capsules[path] = self._read(path, Capsule)
        return self._capsules[path]

    def _read(self, path: str, model: type[Model]) -> Model | None:
        """Return an artifact; None where it cannot be used, which the report's list of refusals says."""
        file = self._workspace.root / path
        try:
            refuse_outside(self._workspace.root, file)
            return read_json(file, model)
        except UnusableInput:
            return None

    def link(self, path: str) -> Link:
        """Return the link from the page to a file of the workspace; without an address where there is none."""
        file = self._workspace.root / path
        if not file.is_file():
            return Link(path, None)
        # With `./` in front, no name can be taken for a scheme such as `javascript:`.
        return Link(path, "./" + quote(Path(os.path.relpath(file, self._beside)).as_posix()))


def budget(capsule: Capsule, link: Link | None, found: Charts) -> BudgetView:
    """Return the view of one capsule."""
    made = charts.latency({"baseline": capsule.runs.baseline, capsule.variant.name: capsule.runs.variant})
    return BudgetView(
        capsule=capsule,
        link=link,
        latency=None if made is None else found.add(made[0]),
        together=0 if made is None else made[1],
        measures=beside(of_capsule(capsule)),
        memory=parts.memory(capsule),
        conditions=", ".join(words.conditions(capsule.conditions)),
        provenance=list(parts.provenance(capsule)),
        failures=parts.failures(capsule),
    )


def block_chart(capsules: Iterable[Capsule]) -> charts.Figure:
    """Return the speed of every process of capsules of one session and budget."""
    chosen = list(capsules)
    arms = {name: runs for capsule in chosen for name, runs in parts.arms(capsule).items()}
    return charts.blocks(chosen[0].protocol.order, arms)
