"""`zmlx capsule import`: take over the predecessor's files as legacy evidence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from zmlx_bench.ledger.legacy.store import Stored


def capsule_import(
    path: Annotated[Path, typer.Argument(help="A file of the predecessor, or a folder of them.")],
    workspace: Annotated[Path | None, typer.Option(help="Workspace; else the nearest one upwards.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")] = False,
) -> None:
    """Import the predecessor's files: fields mapped, units stated, what does not add up listed."""
    from rich.console import Console

    from zmlx_bench.ledger.legacy.store import import_into, sources
    from zmlx_bench.workspace import find

    stored = import_into(find(workspace), sources(path))
    _print_import(stored, Console(stderr=as_json, highlight=False))
    if as_json:
        typer.echo(json.dumps({"imported": [_import_json(item) for item in stored]}, ensure_ascii=False))


def _import_json(item: Stored) -> dict[str, Any]:
    return {"path": item.path.name, "changed": item.changed, **item.legacy.model_dump(mode="json")}


def _print_import(stored: tuple[Stored, ...], console: Console) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for heading in ("layout", "records", "skipped", "faults", "evidence", "stored", "file"):
        table.add_column(heading, no_wrap=heading != "file", overflow="fold")
    for item in stored:
        legacy = item.legacy
        table.add_row(
            legacy.shape,
            str(len(legacy.records)),
            str(len(legacy.not_measured)),
            str(len(legacy.inconsistencies)),
            "yes" if legacy.is_evidence else "no",
            "written" if item.changed else "unchanged",
            escape(legacy.source_name),
        )
    console.print(table)
    for item in stored:
        if item.legacy.why_not is not None:
            _line(console, f"{item.legacy.source_name}: no evidence: {item.legacy.why_not}")
        for absent in item.legacy.not_measured:
            _line(console, f"{item.legacy.source_name}: {absent.where}: not measured: {absent.reason}")
        for fault in item.legacy.inconsistencies:
            _line(console, f"{item.legacy.source_name}: {fault.field}: {fault.sentence}")


def _line(console: Console, text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)
