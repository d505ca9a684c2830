"""`zmlx bisect`: between which releases of a package did decode, its tokens or its memory change?"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from zmlx_bench.cli.options import (
    BackendOption,
    FamilyArgument,
    ForceOption,
    JsonOption,
    MeasuredOption,
    OptionalTimeout,
    OrderSeed,
    PromptsOption,
    ShareDeviceOption,
    TrustOption,
    WorkspaceOption,
    command_line,
)


def bisect(
    family: FamilyArgument,
    good: Annotated[
        str, typer.Option("--good", metavar="PKG==A", help="The version that was well, such as mlx==0.32.3.")
    ],
    bad: Annotated[str, typer.Option("--bad", metavar="PKG==B", help="The version of the same package that is not.")],
    on: Annotated[
        Literal["speed", "tokens", "memory"], typer.Option("--on", help="What changed: speed, tokens or memory.")
    ] = "speed",
    tokens: Annotated[int, typer.Option("--tokens", metavar="N", help="Tokens to generate.")] = 200,
    at_most: Annotated[
        int | None,
        typer.Option("--at-most", metavar="N", help="Most blocks of a step that asks about speed; default: 120."),
    ] = None,
    find_links: Annotated[
        list[Path] | None,
        typer.Option("--find-links", metavar="DIR", help="Folder with wheels of the package; may be repeated."),
    ] = None,
    checkpoint: MeasuredOption = "auto",
    backend: BackendOption = "auto",
    prompts: PromptsOption = None,
    timeout: OptionalTimeout = None,
    seed: OrderSeed = 0,
    trust_remote_code: TrustOption = False,
    force: ForceOption = False,
    share_device: ShareDeviceOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the two neighbouring releases of a package between which the stock model of FAMILY changed.

    In FAMILY's place may stand a checkpoint: its folder, or its hub id OWNER/NAME. The same command goes on where an
    earlier one was ended. Exit code 1 where the ends do not differ, 2 where it is
    undecided.
    """
    from zmlx_bench import workspace as workspaces
    from zmlx_bench.bisect import show
    from zmlx_bench.bisect.ends import ends_of
    from zmlx_bench.bisect.run import Bisecting, Question
    from zmlx_bench.checkpoints.named import named
    from zmlx_bench.cli.output import console, print_json, say
    from zmlx_bench.cli.progress import announced
    from zmlx_bench.protocol.looks import AT_MOST_OF_STEP

    place = workspaces.find(workspace)
    family, checkpoint = named(family, checkpoint, place)
    people = console(stderr=True)
    question = Question(
        family=family,
        ends=ends_of(good, bad),
        on=on,
        tokens=tokens,
        blocks=AT_MOST_OF_STEP if at_most is None else at_most,
        checkpoint=checkpoint,
        backend=backend,
        seed=seed,
        prompts=prompts,
        find_links=tuple(find_links or ()),
        timeout_s=timeout,
        trust_remote_code=trust_remote_code,
        force=force,
        share_device=share_device,
        command=command_line(),
    )
    found = Bisecting(place, question, partial(announced, people), say).run()
    if as_json:
        print_json(show.summary(place, found))
    else:
        for line in show.lines(place, found):
            typer.echo(line)
    raise typer.Exit(show.code(found))
