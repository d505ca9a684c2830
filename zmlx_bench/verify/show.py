"""What `zmlx kernels verify` shows: one line a kernel's mode and configuration, then what breaks its word."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from zmlx_bench.printable import one_line
from zmlx_bench.report.layout import Flow
from zmlx_bench.schema.verification import Probe, Verification, VerifiedRow


def view(report: Verification) -> Group:
    """Return the probes, the table of what was compared, and why the rest was not."""
    title = f"{report.machine.device} ({report.machine.backend}), mlx {report.mlx}, {report.seconds} s"
    parts: list[RenderableType] = [Text(title, "bold")]
    parts += [Flow([probe_line(probe)]) for probe in report.probes]
    compared = [row for row in report.rows if row.compared]
    parts.append(table(compared) if compared else Text("nothing compared"))
    reasons: dict[str, dict[str, None]] = {}
    for row in report.rows:
        if not row.compared:
            reasons.setdefault(one_line(f"{row.status}: {row.reason}"), {})[f"{row.kernel}.{row.mode}"] = None
    parts += [Flow([f"{reason}:", *names], hang=4, style="dim") for reason, names in reasons.items()]
    return Group(*parts)


def table(rows: Sequence[VerifiedRow]) -> Table:
    """Return a line for each row in which something was compared."""
    made = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("kernel", "family", "module", "sizes"):
        made.add_column(column)
    for column in ("calls", "elements", "differing"):
        made.add_column(column, justify="right")
    made.add_column("")
    for row in rows:
        differing = f"{row.differing:,}" if row.differing else "none"
        cells = (f"{row.kernel}.{row.mode}", row.family, row.module or "", row.sizes or "")
        made.add_row(*cells, str(row.calls), f"{row.compared:,}", differing, verdict(row))
    return made


def verdict(row: VerifiedRow) -> str:
    """Return in words what a row says."""
    if row.breaks_word:
        return "NOT stock's bits" if row.compared else row.status
    if row.differing:
        return "changes bits, as declared"
    return "stock's bits" if row.compared else row.status


def name(row: VerifiedRow) -> str:
    """Return what a row is about, in one line."""
    where = " ".join(part for part in (row.family, row.module, row.sizes) if part)
    return f"{row.kernel}.{row.mode} ({where})"


def progress(found: VerifiedRow | Probe) -> str | None:
    """Return the line that is said as a probe or row becomes known; None for one that has nothing to say."""
    if isinstance(found, Probe):
        return probe_line(found)
    if found.status == "unavailable":
        return None
    return f"{name(found)}: {verdict(found)}" + (f" ({found.compared:,} elements)" if found.compared else "")


def probe_line(probe: Probe) -> str:
    """Return a probe in one line."""
    if probe.expected is None:
        return f"{probe.name}: {probe.found}"
    return f"{probe.name}: {probe.found}" + ("" if probe.holds else f", where {probe.expected} was expected")


def broken(report: Verification) -> list[str]:
    """Return what contradicts a declaration or an expectation, a line each."""
    return [*_probes(report.probes), *(f"{name(row)}: {_why(row)}" for row in report.rows if row.breaks_word)]


def _probes(probes: Iterable[Probe]) -> Iterable[str]:
    return (f"{probe_line(probe)}: no stock mode can be relied on here" for probe in probes if not probe.holds)


def _why(row: VerifiedRow) -> str:
    if row.status != "ok":
        return one_line(f"{row.status}: {row.reason}")
    return f"declared identical to stock, but {row.differing:,} of {row.compared:,} elements differ"
