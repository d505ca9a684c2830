"""`zmlx fleet`: the same question on every device of many machines; `run`, `status`, `collect` and `stop`."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from zmlx_bench.cli import complete
from zmlx_bench.cli.options import (
    JsonOption,
    OptionalTimeout,
    OrderSeed,
    VariantsOption,
    WorkspaceOption,
    by_comma,
    command_line,
)
from zmlx_bench.printable import printable

if TYPE_CHECKING:
    from zmlx_bench.fleet.journal import Place

app = typer.Typer(
    help="Measure families on every device of this machine, or of a Ray cluster.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address", metavar="HOST:PORT|auto", help="Ray cluster; default: a Ray of its own for this machine."
    ),
]


@app.command("run", short_help="measure families on every device, or go on with that")
def run(
    families: Annotated[
        list[str], typer.Argument(metavar="FAMILY", help="Model families.", autocompletion=complete.family)
    ],
    address: AddressOption = None,
    local: Annotated[bool, typer.Option("--local", help="This machine's devices, without Ray.")] = False,
    variants: VariantsOption = None,
    sessions: Annotated[
        int, typer.Option("--sessions", metavar="N", help="Sessions of each family on each kind of device.")
    ] = 2,
    devices: Annotated[
        str | None, typer.Option("--devices", metavar="TEXT", help="Only devices whose name or kind has this in it.")
    ] = None,
    per_host: Annotated[
        int,
        typer.Option("--per-host", metavar="N", help="Sessions at a time on a host; they may disturb each other."),
    ] = 1,
    tokens: Annotated[
        list[int] | None,
        typer.Option("--tokens", metavar="N", help="Tokens to generate; may be repeated; default: the policy's."),
    ] = None,
    runs: Annotated[int | None, typer.Option("--runs", metavar="N", help="Blocks of a session; default: 6.")] = None,
    checkpoint: Annotated[
        str,
        typer.Option("--checkpoint", metavar="WHICH", help="auto, tiny, synthetic, full[@REVISION], a hub id."),
    ] = "auto",
    no_null: Annotated[bool, typer.Option("--no-null", help="Leave out the second baseline (the A/A arm).")] = False,
    timeout: OptionalTimeout = None,
    prompts: Annotated[
        str | None, typer.Option("--prompts", metavar="IDS", help="Prompts by id.", autocompletion=complete.prompts)
    ] = None,
    seed: OrderSeed = 0,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure every FAMILY on each kind of device that there is, in sessions as `zmlx run` makes them.

    The same command goes on where an earlier one was ended. Exit code 1 where sessions were given up.
    """
    from zmlx_bench import workspace as workspaces
    from zmlx_bench.cli.output import say
    from zmlx_bench.errors import UnusableInput
    from zmlx_bench.fleet import command
    from zmlx_bench.fleet.ask import Asked
    from zmlx_bench.schema.fleet import LOCAL

    if local and address is not None:
        raise UnusableInput(f"--local: is this machine without Ray; leave it or --address {address} out")
    asked = Asked(
        families=families,
        variants=by_comma(variants),
        sessions=sessions,
        per_host=per_host,
        devices=devices,
        tokens=tokens,
        runs=runs,
        checkpoint=checkpoint,
        null_arm=not no_null,
        seed=seed,
        timeout_s=timeout,
        prompts=prompts,
    )
    where = LOCAL if local else address
    # Ray prints what it has to say of its processes; standard output is for the result.
    with contextlib.redirect_stdout(sys.stderr):
        place = command.run(workspaces.find(workspace), asked, where, say, command_line())
    raise typer.Exit(_shown(place, as_json=as_json))


@app.command("status", short_help="what runs where, and what waits")
def status(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Say how the newest run stands: what runs where and for how long, what waits, what was given up and why."""
    from zmlx_bench import workspace as workspaces
    from zmlx_bench.fleet import journal

    _shown(journal.newest(workspaces.find(workspace)), as_json=as_json)


@app.command("collect", short_help="bring in what has finished, start nothing")
def collect(address: AddressOption = None, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Bring in the sessions that have finished on their nodes since the head left."""
    from zmlx_bench import workspace as workspaces
    from zmlx_bench.cli.output import say
    from zmlx_bench.fleet import command, journal

    place = journal.newest(workspaces.find(workspace))
    with contextlib.redirect_stdout(sys.stderr):
        command.collect(place, address, say)
    _shown(place, as_json=as_json)


@app.command("stop", short_help="end what runs; `run` goes on with it")
def stop(address: AddressOption = None, workspace: WorkspaceOption = None) -> None:
    """End the newest run's sessions where they run. What they have measured stays; the same `run` goes on with it."""
    from zmlx_bench import workspace as workspaces
    from zmlx_bench.cli.output import say
    from zmlx_bench.fleet import command, journal

    command.stop(journal.newest(workspaces.find(workspace)), address, say)


def _shown(place: Place, *, as_json: bool) -> int:
    """Print how a run stands; return 1 where sessions were given up, else 0."""
    import time

    from zmlx_bench import exit_codes
    from zmlx_bench.cli.output import print_json
    from zmlx_bench.fleet import show

    run, scheduler, headed = place.run(), show.standing(place), place.headed()
    if as_json:
        print_json(show.summary(run, scheduler, headed=headed, over=place.over))
    else:
        for line in show.lines(run, scheduler, time.time(), headed=headed, over=place.over):
            typer.echo(printable(line))
    given_up = any(item.state == "given up" for item in scheduler.items.values())
    return exit_codes.NO if given_up else exit_codes.DONE
