"""The lists of `zmlx variants`, `kernels`, `models` and `doctor`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from zmlx_bench.catalog import available as probe
from zmlx_bench.catalog import families, verified
from zmlx_bench.catalog import kernels as kernel_catalog
from zmlx_bench.catalog.variants import Catalog, families_with_variants
from zmlx_bench.checkpoints import resolve
from zmlx_bench.doctor.checkup import Observation
from zmlx_bench.environments.asked import asked
from zmlx_bench.environments.listing import recorded
from zmlx_bench.errors import ZmlxError, unknown
from zmlx_bench.machine import backend as backends
from zmlx_bench.machine import facts
from zmlx_bench.report.layout import Columns, Command, Flow
from zmlx_bench.schema.variant import ResolvedVariant
from zmlx_bench.session.unfinished import Unfinished
from zmlx_bench.workspace import Workspace

Row = dict[str, Any]

NUMERICS = {
    "stock": "stock's bits",
    "bf16_rounded": "rounds to bf16",
    "fp32": "float32, contracted",
    "fp32_no_fma": "float32, no FMA",
    "other": "changes bits",
}
"""What a mode does to the numbers, in short."""


def variants(workspace: Workspace, family: str | None) -> list[Row]:
    """Return every variant with its kernels by site, why it does not run here (null when it does), and when its kernels
    were last verified on this device and these versions as they are (null for never)."""
    known = families_with_variants(workspace)
    asked_for = None if family is None else families.declared_as(family, workspace)
    if asked_for is not None and asked_for not in known:
        raise unknown("model family", asked_for, known)
    backend = backends.choose("auto")
    reports = verified.read(workspace)
    here = verified.here(backend) if reports else None
    rows: list[Row] = []
    hashes: dict[str, str] = {}
    for name in [asked_for] if asked_for else known:
        catalog = Catalog(workspace, name, hashes)
        for variant_name in catalog.names():
            variant = catalog.resolve(variant_name)
            rows.append(
                {
                    "family": name,
                    "variant": variant_name,
                    "default": name == families.ANY or catalog.specs[variant_name].default,
                    "kernels": {"+".join(k.sites): f"{k.kernel}.{k.mode}" for k in variant.kernels},
                    "env": variant.env,
                    "why": variant.why,
                    "environment": catalog.environment_of(variant_name),
                    "fidelity": variant.fidelity,
                    "not_here": catalog.missing_on(variant, backend)
                    or unmade(catalog, variant_name)
                    or _lacks_primitive(catalog, variant),
                    "verified": here
                    and verified.last(reports, variant, verified.digests(catalog, variant, backend), here),
                }
            )
    return rows


def unmade(catalog: Catalog, name: str) -> str | None:
    """Say that a variant's environment is not made, as far as that is known without running it."""
    text = catalog.environment_of(name)
    wanted = None if text is None else asked(catalog.workspace, text)
    if wanted is None or wanted.python is not None or recorded(wanted) is not None:
        return None
    return f"its environment is not made: zmlx environments make {text}"


def _lacks_primitive(catalog: Catalog, variant: ResolvedVariant) -> str | None:
    """Say what the MLX here lacks for a variant; None where it runs in another environment, which is not asked."""
    if catalog.environment_of(variant.name) is not None:
        return None
    reasons = ((use.kernel, probe.lacks_primitive(catalog.kernels[use.kernel])) for use in variant.kernels)
    return next((f"{kernel} {reason}" for kernel, reason in reasons if reason is not None), None)


def variant_list(rows: Sequence[Row]) -> Group:
    """Return what `zmlx variants` shows: for each variant whether it runs here, its kernels, and why it is there."""
    parts: list[RenderableType] = []
    for family in dict.fromkeys(row["family"] for row in rows):
        mine = [row for row in rows if row["family"] == family]
        here = sum(row["not_here"] is None for row in mine)
        parts.append(Text(f"{family}: {len(mine)} variants, {here} run here", style="bold"))
        for row in mine:
            mark = "* " if row["default"] else "  "
            said = [Text(mark + row["variant"], style="bold"), _here(row["not_here"])]
            if row["verified"] is not None:
                said.append(Text(f"kernels verified here {row['verified']}", style="dim"))
            parts.append(Flow(said, hang=4))
            parts.append(Flow([f"{site} = {kernel}" for site, kernel in row["kernels"].items()], indent=4, hang=4))
            parts += [Flow([f"{name}={value}"], indent=4) for name, value in row["env"].items()]
            if row["fidelity"] == "near":
                parts.append(Flow(["declared near: taken by its name only, never a default"], indent=4))
            if row["environment"] is not None:
                parts.append(Flow([f"in the environment {row['environment']}"], indent=4))
            parts.append(Flow([row["why"]], indent=4, style="dim"))
        parts.append(Text())
    parts.append(Text("* measured by `zmlx run FAMILY` without --variants", style="dim"))
    return Group(*parts)


def kernels(workspace: Workspace) -> list[Row]:
    """Return every kernel and mode with why it does not run here (null when it does), and which module of the MLX here
    has each primitive that it needs (null for none)."""
    backend = backends.choose("auto")
    rows: list[Row] = []
    for kernel in kernel_catalog.load(workspace).values():
        for name, mode in kernel.declaration.mode.items():
            rows.append(
                {
                    "kernel": kernel.name,
                    "mode": name,
                    "sites": list(kernel.declaration.sites),
                    "numerics": mode.numerics,
                    "changes": mode.changes,
                    "backends": list(mode.backends),
                    "max_tokens": kernel.declaration.max_tokens,
                    "needs": probe.found_primitives(kernel),
                    "weights": {
                        backend: [str(each) for each in kernel.declaration.weights if backend in each.backends]
                        for backend in mode.backends
                    },
                    "source_sha256": kernel_catalog.source_hash(workspace, kernel),
                    "summary": kernel.declaration.summary,
                    "not_here": probe.why_not(workspace, kernel, name, backend),
                }
            )
    return rows


def kernel_list(rows: Sequence[Row]) -> Group:
    """Return what `zmlx kernels` shows: for each kernel its sites, then its modes."""
    parts: list[RenderableType] = []
    for kernel in dict.fromkeys(row["kernel"] for row in rows):
        modes = [row for row in rows if row["kernel"] == kernel]
        first = modes[0]
        served = f"at {' + '.join(first['sites'])}"
        parts.append(Flow([Text(kernel, style="bold"), served], hang=4))
        parts.append(Flow([first["summary"]], indent=4, hang=4, style="dim"))
        parts += [Flow([f"needs {name}", _found(place)], indent=4) for name, place in first["needs"].items()]
        packings: dict[str, dict[str, None]] = {}
        for backend, each in (pair for row in modes for pair in row["weights"].items() if pair[1]):
            packings.setdefault("; ".join(each), {})[backend] = None
        for text, served_on in packings.items():
            where = f" on {', '.join(served_on)}" if len(packings) > 1 else ""
            parts.append(Flow([f"weights{where}: {text}"], indent=4, hang=4))
        columns = Columns()
        for mode in modes:
            columns.add(f".{mode['mode']}", NUMERICS[mode["numerics"]], ", ".join(mode["backends"]))
        for mode, cells in zip(modes, columns.padded(), strict=True):
            parts.append(Flow([*cells, _here(mode["not_here"])], indent=4))
    return Group(*parts)


def models(workspace: Workspace) -> list[Row]:
    """Return every family and checkpoint that it has, with why it cannot be measured here (null when it can)."""
    machine = facts.read(backends.choose("auto"))
    rows: list[Row] = []
    for family in families.names(workspace):
        known = families.known(family, workspace)
        for kind in (*(("tiny",) if known.tiny is not None else ()), "synthetic", "full"):
            rows.append(
                {
                    "family": family,
                    "title": known.facts.title,
                    "checkpoint": kind,
                    "source": {"full": known.facts.hub_id, "synthetic": "published sizes, random weights"}.get(
                        kind, "trained, ships with zmlx"
                    ),
                    "not_here": _why_not(workspace, family, kind, machine),
                }
            )
    return rows


def model_list(rows: Sequence[Row]) -> Group:
    """Return what `zmlx models` shows: for each family its checkpoints, and what hinders here."""
    parts: list[RenderableType] = []
    for family in dict.fromkeys(row["family"] for row in rows):
        mine = [row for row in rows if row["family"] == family]
        parts.append(Flow([Text(family, style="bold"), mine[0]["title"]]))
        table = _grid()
        for row in mine:
            here = Text("here", "green") if row["not_here"] is None else Text("not here", "yellow")
            table.add_row(f"  {row['checkpoint']}", here, row["source"])
            if row["not_here"] is not None:
                table.add_row("", "", Text(row["not_here"], "dim"))
        parts.append(table)
    parts.append(Text("measure one: zmlx run FAMILY --checkpoint tiny | synthetic | full | FOLDER | HUB_ID", "dim"))
    parts.append(Text("any other text model that mlx-lm loads: zmlx run FOLDER | HUB_ID", "dim"))
    return Group(*parts)


def observations_list(observations: Sequence[Observation]) -> Group:
    """Return what `zmlx doctor` shows: each observation, under it what to do, and at the end what it comes to."""
    table = _grid()
    marks = {"good": Text("good", "green"), "note": Text("note", "yellow"), "problem": Text("problem", "red")}
    for seen in observations:
        table.add_row(marks[seen.level], seen.subject, seen.found)
        if seen.remedy:
            table.add_row("", "", Text(f"fix: {seen.remedy}", "bold"))
    return Group(table, Text(), Text(verdict(observations), style="bold"))


def verdict(observations: Sequence[Observation]) -> str:
    """Return what the observations come to, in one sentence."""
    problems, notes = (sum(seen.level == level for seen in observations) for level in ("problem", "note"))
    if problems:
        return f"{problems} of these must be mended before anything can be measured here"
    if notes:
        return f"this machine can measure; {notes} note{'s' if notes > 1 else ''} on what limits or weakens that"
    return "this machine is ready to measure"


def unfinished_list(found: Sequence[Unfinished], place: Sequence[str] = ()) -> Group:
    """Return what `zmlx sessions` shows: each unfinished session, and what to do with it.

    `place` is what a command must say to find their workspace.
    """
    if not found:
        return Group(Text("every session here is finished"))
    parts: list[RenderableType] = []
    for each in found:
        done = "cannot be read" if each.family is None else f"{each.jobs_done} of {each.jobs} processes"
        if each.failure is not None:
            done = f"failed: {each.failure}"
        if each.held_by is not None:
            parts.append(Flow([Text(each.session, style="bold"), done, f"{each.held_by} is at it"]))
            continue
        parts.append(Flow([Text(each.session, style="bold"), done]))
        if each.family is not None and each.failure is None:
            parts.append(Command(shlex.join(["zmlx", "run", each.family, "--resume", each.session, *place])))
        parts.append(Command(shlex.join(["zmlx", "sessions", "drop", each.session, *place])))
    return Group(*parts)


def _why_not(workspace: Workspace, family: str, kind: str, machine: Any) -> str | None:
    if kind == "full":
        return resolve.why_not_full(family, machine, workspace)
    try:
        resolve.locate(family, kind, machine, workspace=workspace)
    except ZmlxError as error:
        return str(error).partition(": ")[2]
    return None


def _grid() -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", min_width=8)
    table.add_column(overflow="fold", ratio=1)
    return table


def _found(place: str | None) -> Text:
    return Text("not in this MLX", "yellow") if place is None else Text(f"in {place}", "green")


def _here(reason: str | None) -> Text:
    return Text("runs here", "green") if reason is None else Text(f"not here: {reason}", "yellow")
