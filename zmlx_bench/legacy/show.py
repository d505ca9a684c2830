"""Imports of the predecessor's files for people: what was taken over, what does not add up, what it is worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table

from zmlx_bench.legacy.schema import LegacyImport, LegacyRecord
from zmlx_bench.legacy.verdict import legacy_verdicts


def import_table(imports: Sequence[tuple[LegacyImport, bool]]) -> Table:
    """Return a row for each import and whether storing it changed anything."""
    table = Table(box=None, header_style="bold")
    for heading in ("layout", "records", "skipped", "faults", "evidence", "stored", "file"):
        table.add_column(heading, no_wrap=heading != "file", overflow="fold")
    for legacy, changed in imports:
        table.add_row(
            legacy.shape,
            str(len(legacy.records)),
            str(len(legacy.not_measured)),
            str(len(legacy.inconsistencies)),
            "yes" if legacy.is_evidence else "no",
            "written" if changed else "unchanged",
            legacy.source_name,
        )
    return table


def remarks(legacy: LegacyImport) -> Iterator[str]:
    """Yield a line for why it is no evidence, for each arm that never ran, and for what does not add up."""
    if legacy.why_not is not None:
        yield f"{legacy.source_name}: no evidence: {legacy.why_not}"
    for absent in legacy.not_measured:
        yield f"{legacy.source_name}: {absent.where}: not measured: {absent.reason}"
    for fault in legacy.inconsistencies:
        yield f"{legacy.source_name}: {fault.field}: {fault.sentence}"


def view(legacy: LegacyImport) -> RenderableType:
    """Return one import: its records, its remarks, and the verdicts that it alone allows."""
    table = Table(box=None, header_style="bold")
    for heading in ("variant", "tokens", "runs", "baseline tok/s", "patched tok/s", "speed-up", "tokens matched"):
        table.add_column(heading, justify="left" if heading == "variant" else "right", overflow="fold")
    for record in legacy.records:
        table.add_row(*_cells(record))
    verdicts = [f"{v.variant}: {v.verdict} ({v.reason}): {v.why[0]}" for v in legacy_verdicts([legacy])]
    lines = [*remarks(legacy), *verdicts]
    return Group(f"{legacy.source_name}: {legacy.shape}", table, *lines)


def _cells(record: LegacyRecord) -> tuple[str, ...]:
    def shown(value: float | None, places: int) -> str:
        return "-" if value is None else f"{value:.{places}f}"

    fidelity = record.fidelity
    return (
        record.variant or f"({record.where})",
        str(record.tokens),
        "-" if record.runs is None else str(record.runs),
        shown(record.baseline.stated_median_decode_tok_s, 2),
        shown(record.patched.stated_median_decode_tok_s, 2),
        "-" if record.speedup is None else f"{record.speedup:.4f}x",
        "-" if fidelity is None else f"{fidelity.matched}/{fidelity.total}",
    )
