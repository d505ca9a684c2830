"""The table of `zmlx kernels bench`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from rich.table import Table

from zmlx_bench.schema.bench import BenchFigures, BenchReport, BenchRow

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


def table(report: BenchReport) -> Table:
    """Return one line for each row that has figures."""
    made = Table(box=None, pad_edge=False, header_style="bold", title=_title(report), title_justify="left")
    for column, side in _COLUMNS.items():
        made.add_column(column, overflow="fold", justify=side)
    for row in report.rows:
        if row.figures is not None:
            made.add_row(*_cells(row, row.figures))
    return made


def without_figures(rows: Iterable[BenchRow]) -> list[str]:
    """Return one line for each row that has no figures, with the reason."""
    return [f"{row.status}: {name(row)}: {row.reason}" for row in rows if row.figures is None]


def name(row: BenchRow) -> str:
    """Return what a row is about, in one line."""
    where = "".join((f" {row.module}" if row.module else "", f" batch {row.batch}" if row.batch is not None else ""))
    return f"{row.kernel}.{row.mode} ({row.family}{where})"


def explanation() -> str:
    """Return what the columns mean."""
    return (
        "us a call: median in a chain of dependent calls, nothing subtracted, and its range over the samples; link: "
        "what the chain itself adds to it and to stock's; of copy: share of the bandwidth of copying a large array; "
        "less link: the same without the link; differing: elements that are not stock's to the bit; error: distance "
        "from a float32 reference relative to its norm"
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
        f"{(figures.weight_bytes + figures.activation_bytes) / 1e6:.2f}",
        f"{figures.share:.1%}",
        "" if less is None else f"{less:.1%}",
        f"{figures.temporary_bytes / 1e3:.0f}",
        "none" if figures.identical else f"{figures.differing / figures.compared:.1%}",
        f"{figures.error.relative:.1e}",
        f"{figures.stock_error.relative:.1e}",
    )


def _us(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"
