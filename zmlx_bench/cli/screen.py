"""`zmlx screen`: rank the variants of a family in minutes; which of them deserve a session."""

from __future__ import annotations

from typing import Annotated

import typer

from zmlx_bench.cli import complete
from zmlx_bench.cli.options import (
    BackendOption,
    BatchOption,
    ContextOption,
    FamilyArgument,
    ForceOption,
    JsonOption,
    KvBitsOption,
    LayersOption,
    MaxKvSizeOption,
    MeasuredOption,
    OptionalTimeout,
    TrustOption,
    VariantsOption,
    WorkspaceOption,
    by_comma,
)


def screen(
    family: FamilyArgument,
    variants: VariantsOption = None,
    tokens: Annotated[int, typer.Option("--tokens", metavar="N", help="Tokens of each segment.")] = 128,
    processes: Annotated[
        int, typer.Option("--processes", metavar="N", help="Processes, for each set of variables.")
    ] = 3,
    checkpoint: MeasuredOption = "auto",
    backend: BackendOption = "auto",
    timeout: OptionalTimeout = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            "--prompts",
            metavar="IDS|FILE",
            help="Prompts by id or TOML file; the first is used.",
            autocompletion=complete.prompts,
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the order of variants and of synthetic weights.")] = 0,
    trust_remote_code: TrustOption = False,
    force: ForceOption = False,
    layers: LayersOption = None,
    context: ContextOption = None,
    batch: BatchOption = 1,
    kv_bits: KvBitsOption = None,
    max_kv_size: MaxKvSizeOption = None,
    share_device: Annotated[
        bool, typer.Option("--share-device", help="Screen although another command measures on the device.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Rank variants of FAMILY by crossing over with the stock model inside single processes. Never evidence.

    Exit code 4 where nothing can be said of any variant: none runs here, or no process counts.
    """
    from zmlx_bench import exit_codes
    from zmlx_bench import workspace as workspaces
    from zmlx_bench.checkpoints.named import named
    from zmlx_bench.cli.output import console, print_json
    from zmlx_bench.cli.screening import Progress
    from zmlx_bench.errors import ZmlxError
    from zmlx_bench.report import words
    from zmlx_bench.screen import run, show
    from zmlx_bench.screen.report import report
    from zmlx_bench.screen.request import Request
    from zmlx_bench.screen.schema import Screening

    place = workspaces.find(workspace)
    family, checkpoint = named(family, checkpoint, place)
    people = console(stderr=True)
    screening = run.prepare(
        place,
        Request(
            family=family,
            variants=by_comma(variants),
            tokens=tokens,
            processes=processes,
            checkpoint=checkpoint,
            backend=backend,
            timeout_s=timeout,
            prompts=prompts,
            seed=seed,
            trust_remote_code=trust_remote_code,
            force=force,
            layers=layers,
            context=context,
            batch=batch,
            kv_bits=kv_bits,
            max_kv_size=max_kv_size,
            share_device=share_device,
            workspace=None if workspace is None else str(workspace),
        ),
    )
    chosen, machine = screening.located.checkpoint.label, screening.machine
    people.print(f"screening {family}, checkpoint {chosen}, on {machine.device} ({machine.backend})")
    if under := ", ".join(words.conditions(screening.request.of_session.conditions)):
        people.print(f"conditions: {under}")
    if screening.located.why:
        people.print(f"checkpoint auto chose {chosen}: {screening.located.why}")

    def tell() -> Screening:
        found = report(screening)
        if as_json:
            print_json(found.model_dump(mode="json"))
        console(stderr=as_json).print(show.view(found))
        return found

    try:
        with Progress(screening, people) as progress:
            screening.complete(progress)
    except ZmlxError:
        raise
    except BaseException:
        # What is known by now is worth the time that it took.
        tell()
        raise
    found = tell()
    if show.nothing(found):
        raise typer.Exit(exit_codes.CANNOT)
