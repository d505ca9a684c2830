"""`zmlx kernels`: what is declared, and what of it runs here; `verify` compares it with stock, `bench` measures it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from zmlx_bench import exit_codes
from zmlx_bench.cli.options import (
    BackendOption,
    FamiliesOption,
    JsonOption,
    KernelNames,
    TimeoutOption,
    WeightsSeed,
    WorkspaceOption,
)
from zmlx_bench.printable import printable

app = typer.Typer(help="List the kernels; `verify` compares them with stock, `bench` measures them, `new` begins one.")


@app.callback(invoke_without_command=True)
def kernels(context: typer.Context, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """List the kernels of this workspace, their modes and backends, and why one does not run here."""
    if context.invoked_subcommand is not None:
        return
    from zmlx_bench import workspace as workspaces
    from zmlx_bench.cli.output import console, print_json
    from zmlx_bench.report import listings

    rows = listings.kernels(workspaces.find(workspace))
    if as_json:
        print_json({"kernels": rows})
    else:
        console().print(listings.kernel_list(rows))


@app.command("new", short_help="write one that works, to begin from")
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Small letters, digits and '_', such as my_combine.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a kernel that works, to begin from: reference, Metal, CUDA, declaration, test, and variants to measure."""
    import shlex
    from dataclasses import asdict

    from zmlx_bench import workspace as workspaces
    from zmlx_bench.cli.output import print_json
    from zmlx_bench.templates import new_kernel

    place = workspaces.find(workspace)
    written = new_kernel.write(place, name)
    if as_json:
        print_json(asdict(written))
        return
    for path in written.files:
        typer.echo(f"wrote {printable(str(path))}")
    declared = ", ".join(f"{family}.toml" for family in written.families)
    typer.echo(f"added {' and '.join(written.variants)} to variants/: {declared}")
    there = f"cd {shlex.quote(str(place.root))} && " if workspaces.options(place) else ""
    typer.echo(printable(f"next: {there}python -m pytest {written.files[-1]}"))


@app.command("bench", short_help="time, bandwidth, memory and error of each by itself")
def bench(
    names: KernelNames = None,
    family: FamiliesOption = None,
    batch: Annotated[
        list[int] | None, typer.Option("--batch", metavar="N", help="Sequences; may be repeated; default: 1 2 3 4.")
    ] = None,
    backend: BackendOption = "auto",
    seed: WeightsSeed = 0,
    timeout: TimeoutOption = 600.0,
    share_device: Annotated[
        bool,
        typer.Option("--share-device", help="Measure although another command measures on the device; it is recorded."),
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure kernels by themselves at the published shapes: time, bandwidth, memory and error, beside stock's steps.

    Exit code 1 when a kernel failed, or differs from stock though its mode declares that it does not; 4 when
    nothing that was asked for runs here, or another command measures on the device.
    """
    from zmlx_bench import workspace as workspaces
    from zmlx_bench.bench import run
    from zmlx_bench.bench import show as tables
    from zmlx_bench.bench.schema import BenchRow
    from zmlx_bench.cli.output import console, print_json
    from zmlx_bench.errors import UnusableInput
    from zmlx_bench.machine import backend as backends

    if any(not 1 <= one <= 64 for one in batch or ()):
        raise UnusableInput("--batch: must be from 1 to 64")
    _check(seed, timeout)
    people = console(stderr=True)

    def say(row: BenchRow) -> None:
        if row.figures is not None:
            people.print(f"{tables.name(row)}: {row.figures.us.median:.1f} us")

    request = run.Request(
        names=names or (),
        families=family or (),
        batches=batch or (1, 2, 3, 4),
        backend=backends.choose(backend),
        seed=seed,
        timeout_s=timeout,
        share_device=share_device,
    )
    report = run.run(workspaces.find(workspace), request, say)
    if as_json:
        print_json(report.model_dump(mode="json"))
    console(stderr=as_json).print(tables.view(report))
    broken = tables.broken_promises(report.rows)
    for line in broken:
        people.print(line)
    raise typer.Exit(_code(broken, ran=any(row.figures is not None for row in report.rows)))


@app.command("verify", short_help="compare each with the model's own steps, bit for bit")
def verify(
    names: KernelNames = None,
    family: FamiliesOption = None,
    record: Annotated[
        bool, typer.Option("--record", help="Keep the result in the workspace's verifications/.")
    ] = False,
    backend: BackendOption = "auto",
    seed: WeightsSeed = 0,
    timeout: TimeoutOption = 600.0,
    share_device: Annotated[
        bool, typer.Option("--share-device", help="Compare although another command measures on the device.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare kernels with the unpatched model's own steps, bit for bit, at the tiny and the published sizes.

    Exit code 1 when a kernel failed, or a mode that says stock is not; 4 when nothing that was asked for runs here, or
    another command measures on the device.
    """
    from zmlx_bench import workspace as workspaces
    from zmlx_bench.catalog import verified
    from zmlx_bench.cli.output import console, print_json
    from zmlx_bench.machine import backend as backends
    from zmlx_bench.schema.verification import Probe, VerifiedRow
    from zmlx_bench.verify import run, show

    _check(seed, timeout)
    people = console(stderr=True)

    def say(found: VerifiedRow | Probe) -> None:
        line = show.progress(found)
        if line is not None:
            people.print(line)

    request = run.Request(
        names=names or (),
        families=family or (),
        backend=backends.choose(backend),
        seed=seed,
        timeout_s=timeout,
        share_device=share_device,
    )
    found = workspaces.find(workspace) if record else workspaces.find_or_packaged(workspace)
    report = run.run(found, request, say)
    if as_json:
        print_json(report.model_dump(mode="json"))
    console(stderr=as_json).print(show.view(report))
    if record:
        people.print(f"kept in {verified.write(found, report)}")
    broken = show.broken(report)
    for line in broken:
        people.print(line)
    raise typer.Exit(_code(broken, ran=any(row.compared for row in report.rows)))


def _check(seed: int, timeout: float) -> None:
    from zmlx_bench.session.request import check_seed, check_timeout

    check_seed(seed)
    check_timeout(timeout)


def _code(broken: Sequence[str], *, ran: bool) -> int:
    """Return the exit code: 1 where a declaration is broken, else 4 where nothing ran, else 0."""
    if broken:
        return exit_codes.NO
    return exit_codes.DONE if ran else exit_codes.CANNOT
