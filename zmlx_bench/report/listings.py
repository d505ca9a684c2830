"""The tables of `zmlx variants`, `kernels`, `models` and `doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from zmlx_bench.catalog import kernels as kernel_catalog
from zmlx_bench.catalog.variants import Catalog, families
from zmlx_bench.checkpoints import hub, resolve
from zmlx_bench.errors import ZmlxError, unknown
from zmlx_bench.families import registry
from zmlx_bench.machine import backend as backends
from zmlx_bench.machine import facts
from zmlx_bench.machine.checkup import Finding
from zmlx_bench.patch import probe
from zmlx_bench.workspace import Workspace

Row = dict[str, Any]


def variants(workspace: Workspace, family: str | None) -> list[Row]:
    """Return every variant with its kernels by site and why it does not run here (null when it does)."""
    known = families(workspace)
    if family is not None and family not in known:
        raise unknown("model family", family, known)
    backend = backends.choose("auto")
    rows: list[Row] = []
    for name in [family] if family else known:
        catalog = Catalog(workspace, name)
        for variant_name in catalog.names():
            variant = catalog.resolve(variant_name)
            rows.append(
                {
                    "family": name,
                    "variant": variant_name,
                    "default": catalog.specs[variant_name].default,
                    "kernels": {"+".join(k.sites): f"{k.kernel}.{k.mode}" for k in variant.kernels},
                    "env": variant.env,
                    "why": variant.why,
                    "not_here": catalog.missing_on(variant, backend),
                }
            )
    return rows


def variant_table(rows: Sequence[Row]) -> Table:
    """Return the table of `zmlx variants`."""
    table = _table("family", "variant", "default", "kernels", "why", "here")
    for row in rows:
        kernels = ", ".join(f"{site} = {kernel}" for site, kernel in row["kernels"].items())
        table.add_row(
            row["family"],
            row["variant"],
            "yes" if row["default"] else "",
            kernels,
            row["why"],
            row["not_here"] or "runs",
        )
    return table


def kernels(workspace: Workspace) -> list[Row]:
    """Return every kernel and mode with why it does not run here (null when it does)."""
    backend = backends.choose("auto")
    rows: list[Row] = []
    for kernel in kernel_catalog.load(workspace).values():
        for name, mode in kernel.declaration.mode.items():
            rows.append(
                {
                    "kernel": kernel.name,
                    "mode": name,
                    "sites": list(kernel.declaration.sites),
                    "families": list(kernel.declaration.families),
                    "numerics": mode.numerics,
                    "changes": mode.changes,
                    "backends": list(mode.backends),
                    "max_tokens": kernel.declaration.max_tokens,
                    "source_sha256": kernel_catalog.source_hash(workspace, kernel),
                    "summary": kernel.declaration.summary,
                    "not_here": probe.why_not(workspace, kernel, name, backend),
                }
            )
    return rows


def kernel_table(rows: Sequence[Row]) -> Table:
    """Return the table of `zmlx kernels`."""
    table = _table("kernel", "sites", "families", "numerics", "backends", "summary", "here")
    for row in rows:
        table.add_row(
            f"{row['kernel']}.{row['mode']}",
            "+".join(row["sites"]),
            ", ".join(row["families"]),
            row["numerics"],
            ", ".join(row["backends"]),
            row["summary"],
            row["not_here"] or "runs",
        )
    return table


def models() -> list[Row]:
    """Return every family and checkpoint with why it cannot be measured here (null when it can)."""
    machine = facts.read(backends.choose("auto"))
    rows: list[Row] = []
    for family in registry.names():
        known = registry.facts(family)
        for kind in ("tiny", "synthetic", "full"):
            rows.append(
                {
                    "family": family,
                    "title": known.title,
                    "checkpoint": kind,
                    "source": {"full": known.hub_id, "synthetic": "published sizes, random weights"}.get(
                        kind, "trained, ships with zmlx"
                    ),
                    "not_here": _why_not(family, kind, machine),
                }
            )
    return rows


def model_table(rows: Sequence[Row]) -> Table:
    """Return the table of `zmlx models`."""
    table = _table("family", "model", "checkpoint", "source", "here")
    for row in rows:
        table.add_row(row["family"], row["title"], row["checkpoint"], row["source"], row["not_here"] or "yes")
    return table


def findings_table(findings: Sequence[Finding]) -> Table:
    """Return the table of `zmlx doctor`."""
    table = _table("", "subject", "found", "what to do")
    marks = {"good": Text("good", "green"), "note": Text("note", "yellow"), "problem": Text("problem", "red")}
    for finding in findings:
        table.add_row(marks[finding.level], finding.subject, finding.found, finding.remedy)
    return table


def _why_not(family: str, kind: str, machine: Any) -> str | None:
    known = registry.facts(family)
    if kind == "full" and hub.cached(known.hub_id) is None:
        if resolve.memory_gb(machine) * 0.9 < known.memory_gb:
            return f"needs {known.memory_gb} GB of memory"
        return "not in the hub cache; --checkpoint full downloads it"
    try:
        resolve.locate(family, kind, machine)
    except ZmlxError as error:
        return str(error).partition(": ")[2]
    return None


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
