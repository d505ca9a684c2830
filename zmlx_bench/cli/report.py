"""`zmlx report`: ranked tables, the recommendation of each group, the reject list and what is undecided."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zmlx_bench.cli.options import JsonOption, OptionalFamily, WorkspaceOption
from zmlx_bench.printable import printable

if TYPE_CHECKING:
    from zmlx_bench.workspace import Workspace


class Format(StrEnum):
    """How to write the report."""

    TABLE = "table"
    MD = "md"
    HTML = "html"
    JSON = "json"
    CSV = "csv"


def report(
    family: OptionalFamily = None,
    form: Annotated[Format, typer.Option("--format", help="How to write it.")] = Format.TABLE,
    by_device: Annotated[
        bool, typer.Option("--by-device", help="Which variant is promoted where, and where the verdicts differ.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write it to a file.")] = None,
    workspace: WorkspaceOption = None,
    json_wanted: JsonOption = False,
) -> None:
    """Rank what was measured, recommend a variant for each group, and say what is rejected and what is undecided."""
    from dataclasses import asdict

    from zmlx_bench import workspace as workspaces
    from zmlx_bench.catalog import families
    from zmlx_bench.cli.output import console, json_text
    from zmlx_bench.report import overview_text
    from zmlx_bench.report.build import build, rows_of
    from zmlx_bench.report.overview import as_json

    place = workspaces.find(workspace)
    if family is not None:
        families.check_name(family, place)
    if by_device:
        _give(_by_device(place, family, Format.JSON if json_wanted else form, out), out)
        return
    if form is Format.CSV and not json_wanted:
        from zmlx_bench.report import csv_table

        text, refused_rows = csv_table.table(place, rows_of(place, family))
        for refusal in refused_rows:
            typer.echo(f"not used: {refusal.file}: {refusal.why}", err=True)
        _give(text, out)
        return
    built = build(place, family)
    if json_wanted or form is Format.JSON:
        legacy = [{**asdict(v), "measurements": list(v.sources)} for v in built.legacy]
        refused = [asdict(refusal) for refusal in built.refusals]
        value = {"schema_version": 1, "groups": as_json(built.groups), "legacy": legacy, "refused": refused}
        text = json_text(value)
    elif form is Format.MD:
        text = overview_text.markdown(built.groups, built.legacy, built.refusals)
    elif form is Format.HTML:
        from zmlx_bench.ledger.evidence_reader import read_policy
        from zmlx_bench.report.html.page import report_page

        text = report_page(built, place, read_policy(place), (out or place.root / "report.html").resolve().parent)
    else:
        screen = console(plain=out is not None)
        with screen.capture() as captured:
            screen.print(overview_text.tables(built.groups, built.legacy, built.refusals))
        text = captured.get()
    _give(text, out)


def _by_device(place: Workspace, family: str | None, form: Format, out: Path | None) -> str:
    from zmlx_bench.cli.output import console, json_text
    from zmlx_bench.errors import UnusableInput
    from zmlx_bench.report import by_device
    from zmlx_bench.report.build import build

    if form not in (Format.TABLE, Format.MD, Format.JSON):
        raise UnusableInput(f"--by-device: is written as table, md or json, not as {form.value}")
    asked = by_device.questions(build(place, family).groups)
    if form is Format.JSON:
        return json_text({"schema_version": 1, "questions": by_device.as_json(asked)})
    if form is Format.MD:
        return by_device.markdown(asked)
    screen = console(plain=out is not None)
    with screen.capture() as captured:
        screen.print(by_device.text(asked))
    return captured.get()


def _give(text: str, out: Path | None) -> None:
    if out is None:
        typer.echo(text, nl=False)
        return
    from zmlx_bench import files

    files.write_atomic(out, text.encode())
    typer.echo(f"wrote {printable(str(out))}", err=True)
