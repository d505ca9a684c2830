"""The table of `zmlx upgrade-check`: which promotions hold in another environment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from zmlx_bench.printable import printable
from zmlx_bench.report import words
from zmlx_bench.report.layout import Fitting, Flow
from zmlx_bench.schema.upgrade import Upgrade, UpgradeCheck, UpgradedBudget

_SAID = {
    "held": "holds",
    "fails": "does not hold",
    "undecided": "undecided",
    "unmeasured": "cannot be measured here",
    None: "not finished",
}
_STYLE = {"held": "green", "fails": "red", "undecided": "yellow"}
_HEAD = ("family", "checkpoint", "backend", "variant", "", "faster than stock there", "GB, stock's", "stock there")


def upgrade_table(upgrade: Upgrade) -> RenderableType:
    """Return what `zmlx upgrade-check` shows: a row a promotion, then why where that is not plain."""
    if not upgrade.checks:
        return Text("nothing is promoted here that was asked about")
    table = Table(box=None, pad_edge=False)
    for name in _HEAD:
        table.add_column(name)
    for one in upgrade.checks:
        table.add_row(*_cells(one))
    narrow: list[RenderableType] = [Flow([cell for cell in _cells(one) if str(cell)], hang=4) for one in upgrade.checks]
    parts: list[RenderableType] = [Fitting(table, Group(*narrow)), Text()]
    parts += [Flow(list(_why(one)), hang=4) for one in upgrade.checks if one.why]
    parts.append(Flow([f"environment: {printable(upgrade.environment)}", *_sessions(upgrade.checks)], style="dim"))
    return Group(*parts)


def _cells(one: UpgradeCheck) -> tuple[str | Text, ...]:
    under = list(words.conditions(one.conditions))
    return (
        one.family,
        ", ".join([one.checkpoint, *under]),
        one.backend,
        one.variant,
        Text(_SAID[one.said], style=_STYLE.get(one.said or "", "")),
        "; ".join(map(_speed, one.budgets)),
        ""
        if one.peak_mem_gb is None
        else f"{words.gigabytes(one.peak_mem_gb)}, {words.gigabytes(one.stock_peak_mem_gb)}",
        "; ".join(_stock(one)),
    )


def _speed(one: UpgradedBudget) -> str:
    return f"{one.tokens}: {words.spanned(one.speedup, one.low, one.high)}"


def _stock(one: UpgradeCheck) -> Iterator[str]:
    if one.stock is None:
        return
    if one.stock.speed is not None:
        yield f"{one.stock.speed:.3f}x of here"
    if one.stock.prompt is None:
        yield "same tokens"
        return
    margin = "" if one.stock.margin is None else f" (margin {one.stock.margin:.2g})"
    yield f"other tokens from {one.stock.token} of {one.stock.prompt}{margin}"


def _why(one: UpgradeCheck) -> Iterator[str | Text]:
    yield Text(f"{one.variant} ({one.family}, {one.backend}): {_SAID[one.said]}:", style="bold")
    yield printable(one.why)
    if one.blocks_needed is not None:
        yield f"a session of {one.blocks_needed} blocks would tell; --at-most {one.blocks_needed}"


def _sessions(checks: Sequence[UpgradeCheck]) -> Iterator[str]:
    named = [one.session for one in checks if one.session is not None and one.said != "unmeasured"]
    if named:
        yield f"capsules: {', '.join(f'capsules/{name}/' for name in named)}"
