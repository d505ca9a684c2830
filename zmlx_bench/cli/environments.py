"""`zmlx environments`: Python environments beside the one that zmlx is in, for arms that run under another MLX."""

from __future__ import annotations

from typing import Annotated

import typer

from zmlx_bench import exit_codes
from zmlx_bench.cli import complete
from zmlx_bench.cli.options import JsonOption, WorkspaceOption
from zmlx_bench.printable import printable

app = typer.Typer(
    help="List, make, check and remove Python environments with another MLX or mlx-lm.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="Of variants/environments.toml, or requirements such as mlx==0.32.3, or a Python's path.",
        autocompletion=complete.environment,
    ),
]


@app.command("list", short_help="what there is, and what it takes")
def list_all(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """List the workspace's environments, whether they are made, and what else is kept in the cache."""
    from zmlx_bench import workspace as workspaces
    from zmlx_bench.cli.output import console, print_json
    from zmlx_bench.environments.listing import rows
    from zmlx_bench.report.environments import environment_list

    found = rows(workspaces.find_or_packaged(workspace))
    if as_json:
        print_json({"environments": found})
    else:
        console().print(environment_list(found))


@app.command("make", short_help="install one into the cache")
def make(
    name: Name,
    again: Annotated[bool, typer.Option("--again", help="Resolve its requirements anew.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an environment in the cache, with uv where that is installed, else with venv and pip."""
    from zmlx_bench import workspace as workspaces
    from zmlx_bench.cli.output import console, print_json, say
    from zmlx_bench.environments import asked
    from zmlx_bench.environments import make as making
    from zmlx_bench.report.environments import environment_view

    made = making.make(asked.asked(workspaces.find_or_packaged(workspace), name), say, again=again)
    if as_json:
        print_json(made.environment.model_dump(mode="json"))
    else:
        console().print(environment_view(made.environment, made.python))


@app.command("check", short_help="is it what was made, and can it measure")
def check(name: Name, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> int:
    """Say what an environment is now, which primitives that kernels need its MLX has, and whether a measured process
    can run in it; exit code 1 where none can."""
    from zmlx_bench import workspace as workspaces
    from zmlx_bench.catalog import available
    from zmlx_bench.cli.output import console, print_json
    from zmlx_bench.environments import asked
    from zmlx_bench.environments import found as looking
    from zmlx_bench.environments import make as making
    from zmlx_bench.errors import CannotHere
    from zmlx_bench.report.environments import environment_view

    place = workspaces.find_or_packaged(workspace)
    found = making.present(asked.asked(place, name))
    if found is None:
        raise CannotHere(f"environment {name}: is not made; zmlx environments make {name}")
    able = found.environment.lacks is None
    primitives = looking.primitives(found.python, name, available.needed(place)) if able else {}
    if as_json:
        print_json({**found.environment.model_dump(mode="json"), "primitives": primitives})
    else:
        console().print(environment_view(found.environment, found.python, primitives))
    return exit_codes.DONE if able else exit_codes.NO


@app.command("remove", short_help="remove one from the cache")
def remove(name: Name, workspace: WorkspaceOption = None) -> None:
    """Remove an environment that was made; NAME may be its key. One given by a Python's path is its owner's."""
    from zmlx_bench import workspace as workspaces
    from zmlx_bench.environments.listing import removed

    key, taken = removed(workspaces.find_or_packaged(workspace), name)
    typer.echo(f"removed {printable(name)} ({key}): {taken / 1e6:.0f} MB")
