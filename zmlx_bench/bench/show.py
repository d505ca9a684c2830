"""The table of `zmlx kernels bench`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from zmlx_bench.bench.schema import BenchFigures, BenchReport, BenchRow
from zmlx_bench.printable import one_line
from zmlx_bench.report.layout import Columns, Fitting, Flow

_COLUMNS: dict[str, Literal["left", "right"]] = {
    "kernel": "left",
    "module": "left",
    "batch": "right",
    "us a call": "right",
    "range": "left",
    "stock": "right",
    "speed-up": "right",
    "link": "right",
    "MB": "right",
    "of copy": "right",
    "less link": "right",
    "temp kB": "right",
    "differing": "right",
    "error": "right",
    "stock's": "right",
}


def view(report: BenchReport) -> Group:
    """Return what was measured, as a table where it fits, then why the rest has no figures and what columns mean."""
    missing = [Flow([line]) for line in without_figures(report.rows)]
    shown = Fitting(table(report), _paragraphs(report)) if len(missing) < len(report.rows) else Text("nothing measured")
    return Group(Text(_title(report), "bold"), shown, *missing, Text(explanation(), "dim"))


def table(report: BenchReport) -> Table:
    """Return one line for each row that has figures."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column, side in _COLUMNS.items():
        made.add_column(column, justify=side)
    for row in report.rows:
        if row.figures is not None:
            made.add_row(*_cells(row, row.figures))
    return made


def _paragraphs(report: BenchReport) -> Group:
    columns = Columns(right=frozenset({1, 2, 3, 4}))
    measured = [(row, row.figures) for row in report.rows if row.figures is not None]
    for row, figures in measured:
        columns.add(
            f"batch {row.batch}",
            _time(figures.us.median),
            f"stock {_time(figures.stock_us.median)}",
            f"{figures.speedup.median:.2f}x",
            f"{figures.share:.1%} of copy",
            "identical" if figures.identical else f"{_differing(figures)} differing",
        )
    parts: list[RenderableType] = []
    heading = None
    for (row, figures), cells in zip(measured, columns.padded(), strict=True):
        if heading != (heading := (row.kernel, row.mode, row.family, row.module)):
            parts.append(Flow([Text(f"{row.kernel}.{row.mode}", "bold"), f"{row.family} {row.module}"]))
        parts.append(Flow(cells, indent=2, hang=4))
        parts.append(Flow([*_details(figures)], indent=4, hang=4, style="dim"))
    return Group(*parts)


def _details(figures: BenchFigures) -> Iterator[str]:
    yield f"{_time(figures.us.low)} to {_time(figures.us.high)}"
    yield f"link {_time(figures.link_us.median)}"
    if figures.share_without_link is not None:
        yield f"less link {figures.share_without_link:.1%}"
    yield f"{_megabytes(figures)} MB"
    yield f"temp {figures.temporary_bytes / 1e3:.0f} kB"
    yield f"error {figures.error.relative:.1e} (stock's {figures.stock_error.relative:.1e})"


def without_figures(rows: Iterable[BenchRow]) -> list[str]:
    """Return one line for each row that has no figures, with the reason."""
    return [f"{row.status}: {name(row)}: {one_line(row.reason or '')}" for row in rows if row.figures is None]


def name(row: BenchRow) -> str:
    """Return what a row is about, in one line."""
    where = "".join((f" {row.module}" if row.module else "", f" batch {row.batch}" if row.batch is not None else ""))
    return f"{row.kernel}.{row.mode} ({row.family}{where})"


def explanation() -> str:
    """Return what the columns mean."""
    return (
        "us a call (the first time of a line): median in a chain of dependent calls, nothing subtracted, and its range "
        "over the samples; link: what the chain itself adds to it and to stock's; of copy: share of the bandwidth of "
        "copying a large array; less link: the same without the link; differing: elements that are not stock's to the "
        "bit; error: distance from a float32 reference relative to its norm"
    )


def broken_promises(rows: Iterable[BenchRow]) -> list[str]:
    """Return what contradicts a kernel's declaration: a process or call that failed, `stock` that is not stock."""
    found = []
    for row in rows:
        if row.status not in ("ok", "unavailable"):
            found.append(f"{name(row)}: {row.status}")
        elif row.numerics == "stock" and row.figures is not None and not row.figures.identical:
            found.append(
                f"{name(row)}: declared identical to stock, but {row.figures.differing} of "
                f"{row.figures.compared} elements differ"
            )
    return found


def _title(report: BenchReport) -> str:
    rates = sorted({row.figures.copy_gb_s for row in report.rows if row.figures is not None})
    return f"{report.machine.device} ({report.machine.backend}), mlx {report.mlx}" + (
        f", copies {' / '.join(f'{rate:.0f}' for rate in rates)} GB/s" if rates else ""
    )


def _cells(row: BenchRow, figures: BenchFigures) -> Sequence[str]:
    less = figures.share_without_link
    return (
        f"{row.kernel}.{row.mode}",
        f"{row.family} {row.module}",
        str(row.batch),
        _us(figures.us.median),
        f"{_us(figures.us.low)}-{_us(figures.us.high)}",
        _us(figures.stock_us.median),
        f"{figures.speedup.median:.2f}",
        _us(figures.link_us.median),
        _megabytes(figures),
        f"{figures.share:.1%}",
        "" if less is None else f"{less:.1%}",
        f"{figures.temporary_bytes / 1e3:.0f}",
        "none" if figures.identical else _differing(figures),
        f"{figures.error.relative:.1e}",
        f"{figures.stock_error.relative:.1e}",
    )


def _us(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _time(us: float) -> str:
    return f"{_us(us)} us" if us < 10_000 else f"{us / 1e3:.1f} ms"


def _megabytes(figures: BenchFigures) -> str:
    return f"{(figures.weight_bytes + figures.activation_bytes) / 1e6:.2f}"


def _differing(figures: BenchFigures) -> str:
    return f"{figures.differing / figures.compared:.1%}"
