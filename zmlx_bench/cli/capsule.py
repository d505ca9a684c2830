"""`zmlx capsule show | verify | import`: look at evidence, check it, take over the predecessor's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zmlx_bench.cli.options import JsonOption, WorkspaceOption

CapsulePath = Annotated[Path, typer.Argument(metavar="PATH", help="A capsule, or an import of the predecessor's.")]
SourcePath = Annotated[Path, typer.Argument(metavar="PATH", help="A file of the predecessor, or a folder of them.")]


def capsule_show(path: CapsulePath, as_json: JsonOption = False) -> None:
    """Show a capsule: what was measured, how, its figures and every block."""
    from zmlx_bench.cli.output import console, print_json
    from zmlx_bench.ledger.evidence import read_evidence
    from zmlx_bench.report import capsule as capsules
    from zmlx_bench.report import legacy as legacies
    from zmlx_bench.schema.capsule import Capsule

    evidence = read_evidence(path)
    if as_json:
        print_json(evidence.model_dump(mode="json"))
    elif isinstance(evidence, Capsule):
        console().print(capsules.view(evidence), soft_wrap=False)
    else:
        console().print(legacies.view(evidence))


def capsule_verify(path: CapsulePath, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Recompute one capsule from its raw numbers; exit code 1 when something does not hold."""
    from zmlx_bench.cli.check import say
    from zmlx_bench.ledger.check.targets import check

    say(check([path], workspace), as_json)


def capsule_import(path: SourcePath, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Import the predecessor's files: fields mapped, units stated, what does not add up listed."""
    from zmlx_bench import workspace as workspaces
    from zmlx_bench.cli.output import console, print_json
    from zmlx_bench.ledger.legacy.store import import_into, sources
    from zmlx_bench.report.legacy import import_table, remarks

    stored = import_into(workspaces.find(workspace), sources(path))
    screen = console(stderr=as_json)
    screen.print(import_table([(item.legacy, item.changed) for item in stored]))
    for item in stored:
        for line in remarks(item.legacy):
            screen.print(line, markup=False, soft_wrap=True)
    if as_json:
        imported = [{"changed": item.changed, **item.legacy.model_dump(mode="json")} for item in stored]
        print_json({"imported": imported})
