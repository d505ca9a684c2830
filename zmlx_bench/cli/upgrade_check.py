"""`zmlx upgrade-check`: does every promotion here hold under another MLX or mlx-lm?"""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from zmlx_bench.cli import complete
from zmlx_bench.cli.options import (
    BackendOption,
    JsonOption,
    OptionalTimeout,
    OrderSeed,
    PromptsOption,
    ShareDeviceOption,
    WorkspaceOption,
    command_line,
)


def upgrade_check(
    environment: Annotated[
        str,
        typer.Option(
            "--environment",
            metavar="E",
            help="What to upgrade to: mlx==0.32.4, a name, or a Python's path.",
            autocompletion=complete.environment,
        ),
    ],
    family: Annotated[str | None, typer.Option("--family", metavar="F", help="Only promotions of this family.")] = None,
    backend: BackendOption = "auto",
    at_most: Annotated[
        int | None, typer.Option("--at-most", metavar="N", help="Most blocks of a session; default: 40.")
    ] = None,
    prompts: PromptsOption = None,
    timeout: OptionalTimeout = None,
    seed: OrderSeed = 0,
    share_device: ShareDeviceOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure every promotion again with both the stock model and the variant in another environment.

    A promotion holds where the variant would be a CANDIDATE there. Exit code 1 where one does not hold, 2 where one is
    undecided, 4 where none can be measured here. The same command goes on where an earlier one was ended.
    """
    from zmlx_bench import workspace as workspaces
    from zmlx_bench.catalog import families
    from zmlx_bench.cli.output import console, print_json, say
    from zmlx_bench.cli.progress import announced
    from zmlx_bench.protocol.looks import AT_MOST
    from zmlx_bench.report.upgrade import upgrade_table
    from zmlx_bench.upgrade import show
    from zmlx_bench.upgrade.run import Checking, Question

    place = workspaces.find(workspace)
    if family is not None:
        families.check_name(family, place)
    question = Question(
        environment=environment,
        blocks=AT_MOST if at_most is None else at_most,
        family=family,
        backend=backend,
        seed=seed,
        prompts=prompts,
        timeout_s=timeout,
        share_device=share_device,
        command=command_line(),
    )
    found = Checking(place, question, partial(announced, console(stderr=True)), say).run()
    if as_json:
        print_json(show.summary(place, found))
    else:
        console().print(upgrade_table(found))
    raise typer.Exit(show.code(found))
