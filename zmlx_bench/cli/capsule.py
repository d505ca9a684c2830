"""`zmlx capsule show | verify | replay | import`: look at evidence, check it, measure it again, take it over."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from zmlx_bench import exit_codes
from zmlx_bench.cli.options import JsonOption, ShareDeviceOption, WorkspaceOption, command_line
from zmlx_bench.printable import printable

app = typer.Typer(
    help="Look at capsules, check them, measure them again, import the predecessor's.", no_args_is_help=True
)

CapsulePath = Annotated[Path, typer.Argument(metavar="PATH", help="A capsule, or an import of the predecessor's.")]
SourcePath = Annotated[Path, typer.Argument(metavar="PATH", help="A file of the predecessor, or a folder of them.")]


class Format(StrEnum):
    """How to show a capsule."""

    TABLE = "table"
    HTML = "html"
    JSON = "json"


@app.command("show", short_help="what was measured, how, its figures and blocks")
def capsule_show(
    path: CapsulePath,
    form: Annotated[Format, typer.Option("--format", help="How to write it.")] = Format.TABLE,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the page to a file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show a capsule: what was measured, how, its figures and every block."""
    from zmlx_bench import files
    from zmlx_bench.cli.output import console, print_json
    from zmlx_bench.errors import UnusableInput
    from zmlx_bench.ledger.evidence import read_evidence
    from zmlx_bench.legacy import show as legacies
    from zmlx_bench.report import capsule as capsules
    from zmlx_bench.schema.capsule import Capsule

    if out is not None and form is not Format.HTML:
        raise UnusableInput("--out: needs --format html")
    evidence = read_evidence(path)
    if as_json or form is Format.JSON:
        print_json(evidence.model_dump(mode="json"))
    elif form is Format.HTML:
        if not isinstance(evidence, Capsule):
            raise UnusableInput(f"{path}: is an import of the predecessor's; only --format table and json show it")
        from zmlx_bench.report.html.page import capsule_page

        page = capsule_page(evidence)
        if out is None:
            typer.echo(page, nl=False)
        else:
            files.write_atomic(out, page.encode())
            typer.echo(f"wrote {printable(str(out))}", err=True)
    elif isinstance(evidence, Capsule):
        console().print(capsules.view(evidence), soft_wrap=False)
    else:
        console().print(legacies.view(evidence))


@app.command("verify", short_help="recompute one from its raw numbers")
def capsule_verify(path: CapsulePath, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Recompute one capsule from its raw numbers; exit code 1 when something does not hold."""
    from zmlx_bench.cli.check import say
    from zmlx_bench.ledger.check.targets import check

    say(check([path], workspace), as_json)


@app.command("import", short_help="take over the predecessor's files")
def capsule_import(path: SourcePath, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Import the predecessor's files: fields mapped, units stated, what does not add up listed."""
    from zmlx_bench import workspace as workspaces
    from zmlx_bench.cli.output import console, print_json
    from zmlx_bench.legacy.show import import_table, remarks
    from zmlx_bench.legacy.store import import_into, sources

    stored = import_into(workspaces.find(workspace), sources(path))
    screen = console(stderr=as_json)
    screen.print(import_table([(item.legacy, item.changed) for item in stored]))
    for item in stored:
        for line in remarks(item.legacy):
            screen.print(line, soft_wrap=True)
    if as_json:
        imported = [{"changed": item.changed, **item.legacy.model_dump(mode="json")} for item in stored]
        print_json({"imported": imported})


@app.command("replay", short_help="measure its variant again here")
def capsule_replay(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="The capsule to measure again.")],
    runs: Annotated[
        int | None, typer.Option("--runs", metavar="N", min=1, help="Blocks; default: the capsule's.")
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option("--checkpoint", metavar="WHICH", help="Where the capsule's checkpoint is here.")
    ] = None,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Allow a checkpoint whose config names code to run.")
    ] = False,
    share_device: ShareDeviceOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a capsule's variant again here: exit code 0 when it agrees, 1 when not, 2 when nothing can be said."""
    from zmlx_bench import workspace as workspaces
    from zmlx_bench.cli.output import console, print_json
    from zmlx_bench.cli.progress import Progress
    from zmlx_bench.ledger.evidence import read_capsule
    from zmlx_bench.replay import measure as replay
    from zmlx_bench.replay.show import lines, summary

    place = workspaces.find(workspace)
    overrides = replay.Overrides(runs, checkpoint, trust_remote_code, share_device, command_line())
    planned = replay.prepare(place, read_capsule(path), overrides)
    people = console(stderr=True)
    for line in planned.instead:
        people.print(line)
    with Progress(planned.prepared.session.plan, people) as progress:
        again, verdict = replay.measure(planned, progress)
    if as_json:
        print_json(summary(planned.original, again, verdict, planned.instead))
    else:
        for line in lines(planned.original, again, verdict):
            typer.echo(printable(line))
    codes = {"agree": exit_codes.DONE, "disagree": exit_codes.NO, "not comparable": exit_codes.INCONCLUSIVE}
    raise typer.Exit(codes[verdict.answer])
