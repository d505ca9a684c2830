"""`zmlx run`: measure the variants of a family against the baseline."""

from __future__ import annotations

import shlex
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
    OrderSeed,
    PromptsOption,
    ShareDeviceOption,
    TrustOption,
    VariantsOption,
    WorkspaceOption,
    by_comma,
    command_line,
    given,
)

Tokens = Annotated[
    list[int] | None,
    typer.Option(
        "--tokens",
        metavar="N",
        help="Tokens to generate; may be repeated; default: 200. A verdict needs each budget of the policy.",
    ),
]


def run(
    command: typer.Context,
    family: FamilyArgument,
    tokens: Tokens = None,
    runs: Annotated[
        int | None, typer.Option("--runs", metavar="N", help="Blocks: one fresh process an arm each; default: 3.")
    ] = None,
    until_decided: Annotated[
        bool,
        typer.Option("--until-decided", help="Stop at the first planned look at which every variant is decided."),
    ] = False,
    at_most: Annotated[
        int | None, typer.Option("--at-most", metavar="N", help="Most blocks of --until-decided; default: 40.")
    ] = None,
    variants: VariantsOption = None,
    environment: Annotated[
        list[str] | None,
        typer.Option(
            "--environment",
            metavar="E",
            help="Also the stock model in another environment: mlx==0.32.3, a name, a Python's path; may be repeated.",
            autocompletion=complete.environment,
        ),
    ] = None,
    checkpoint: MeasuredOption = "auto",
    backend: BackendOption = "auto",
    no_null: Annotated[bool, typer.Option("--no-null", help="Leave out the second baseline (the A/A arm).")] = False,
    cooldown: Annotated[
        str,
        typer.Option(
            "--cooldown",
            metavar="S|cool",
            help="Seconds to wait after each process; cool: until the machine is as cool as at the start.",
        ),
    ] = "0",
    timeout: OptionalTimeout = None,
    prompts: PromptsOption = None,
    resume: Annotated[
        str | None,
        typer.Option(
            "--resume", metavar="SESSION", help="Finish an interrupted session.", autocompletion=complete.session
        ),
    ] = None,
    extend: Annotated[
        str | None,
        typer.Option(
            "--extend",
            metavar="SESSION",
            help="Go on with a session that its looks left undecided.",
            autocompletion=complete.session,
        ),
    ] = None,
    seed: OrderSeed = 0,
    trust_remote_code: TrustOption = False,
    force: ForceOption = False,
    layers: LayersOption = None,
    context: ContextOption = None,
    batch: BatchOption = 1,
    kv_bits: KvBitsOption = None,
    max_kv_size: MaxKvSizeOption = None,
    audit: Annotated[
        bool,
        typer.Option("--audit", help="Also compare logits of stock and variants with a float32 reference."),
    ] = False,
    share_device: ShareDeviceOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure every variant of FAMILY against the stock model: speed, memory, and whether every token is the same.

    In FAMILY's place may stand a checkpoint of any text model that mlx-lm loads: its folder, or its hub id OWNER/NAME.
    """
    from zmlx_bench import workspace as workspaces
    from zmlx_bench.checkpoints.named import named
    from zmlx_bench.cli.output import console, print_json, say
    from zmlx_bench.cli.progress import Progress
    from zmlx_bench.errors import UnusableInput
    from zmlx_bench.ledger.incumbent import incumbent_of
    from zmlx_bench.machine import tested
    from zmlx_bench.report import words
    from zmlx_bench.report.layout import Command
    from zmlx_bench.report.session_table import session_summary, session_table
    from zmlx_bench.session import api, planned, store
    from zmlx_bench.session.log import finished
    from zmlx_bench.session.records import runs_of
    from zmlx_bench.session.request import Request, cooldown_of
    from zmlx_bench.session.spent import spent_of

    place = workspaces.find(workspace)
    argument = family
    family, checkpoint = named(argument, checkpoint, place, anew=resume is None and extend is None)
    people = console(stderr=True)
    if resume is not None and extend is not None:
        raise UnusableInput("--extend: --resume finishes another session; choose one")
    cooldown_s, cool = cooldown_of(cooldown)
    request = Request(
        family=family,
        tokens=tokens or [200],
        runs=runs,
        until_decided=until_decided,
        at_most=at_most,
        variants=by_comma(variants),
        environments=environment or (),
        checkpoint=checkpoint,
        backend=backend,
        null_arm=not no_null,
        cooldown_s=cooldown_s,
        cool=cool,
        timeout_s=timeout,
        seed=seed,
        prompts=prompts,
        trust_remote_code=trust_remote_code,
        force=force,
        layers=layers,
        audit=audit,
        context=context,
        batch=batch,
        kv_bits=kv_bits,
        max_kv_size=max_kv_size,
        share_device=share_device,
        command=command_line(),
    )
    if (again := extend if resume is None else resume) is not None:
        option = f"--{'extend' if resume is None else 'resume'}"
        begun = store.load(place, again)
        said_so = given(command) | ({"in_familys_place"} if checkpoint == argument else set())
        planned.check(place, begun, request, said_so, option)
        prepared = api.reopen(place, again, share_device=share_device, more=extend is not None)
    else:
        prepared = api.prepare(place, request, incumbent_of, say)
    session = prepared.session
    chosen, plan = prepared.located, session.plan
    say(
        f"session {session.session}: {family}, "
        f"checkpoint {chosen.checkpoint.label} ({words.digest(chosen.checkpoint.digest)})"
        f" on {session.machine.device} ({plan.backend}), mlx {session.software.mlx}"
    )
    if under := ", ".join(words.conditions(plan.conditions)):
        say(f"conditions: {under}")
    if odd := tested.warning(session.software.mlx, session.software.mlx_lm, session.software.python):
        say(odd)
    if chosen.why:
        say(f"checkpoint auto chose {chosen.checkpoint.label}: {chosen.why}")
    if plan.looks:
        say(f"looks after {', '.join(map(str, plan.looks))} blocks")
    for reason in prepared.left_out:
        say(f"left out: {reason}")
    for note in prepared.notes:
        say(note)
    before, _ = runs_of(plan, finished(store.events_path(place, session.session)))
    with Progress(plan, people, before) as progress:
        try:
            session, capsules = api.complete(prepared, progress)
        except BaseException:
            if api.can_be_resumed(prepared):
                people.print("to finish this session:")
                words_again = ("zmlx", "run", family, "--resume", session.session, *workspaces.options(place))
                people.print(Command(shlex.join(words_again)))
            raise
    spent = spent_of(plan, finished(store.events_path(place, session.session)), session.preparing_s)
    if as_json:
        print_json(session_summary(session, capsules, spent))
    else:
        console().print(session_table(session, capsules, spent, workspaces.options(place)))
