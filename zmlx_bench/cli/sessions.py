"""`zmlx sessions`: the sessions that were begun and not finished; `drop` removes one."""

from __future__ import annotations

from typing import Annotated

import typer

from zmlx_bench.cli import complete
from zmlx_bench.cli.options import JsonOption, WorkspaceOption
from zmlx_bench.printable import printable

app = typer.Typer(no_args_is_help=False, rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def sessions(context: typer.Context, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """List the sessions that were begun and not finished."""
    if context.invoked_subcommand is not None:
        return
    from dataclasses import asdict

    from zmlx_bench import workspace as workspaces
    from zmlx_bench.cli.output import console, print_json
    from zmlx_bench.report.listings import unfinished_list
    from zmlx_bench.session.unfinished import unfinished

    place = workspaces.find(workspace)
    found = list(unfinished(place))
    if as_json:
        print_json({"unfinished": [asdict(each) for each in found]})
    else:
        console().print(unfinished_list(found, workspaces.options(place)))


@app.command("drop", short_help="remove an unfinished session")
def drop(
    session: Annotated[
        str,
        typer.Argument(
            metavar="SESSION", help="Its name, as `zmlx sessions` lists it.", autocompletion=complete.session
        ),
    ],
    workspace: WorkspaceOption = None,
) -> None:
    """Remove a session that was begun and will not be finished; a finished one is evidence and stays."""
    from zmlx_bench import workspace as workspaces
    from zmlx_bench.session import unfinished

    typer.echo(f"dropped {printable(str(unfinished.drop(workspaces.find(workspace), session)))}")
