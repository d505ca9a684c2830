"""Plans what `kernels bench` measures and runs it in one process a family.

A kernel that takes its process with it loses its remaining rows; a new process goes on with the next kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter

from zmlx_bench import __version__
from zmlx_bench.bench.reporter import Reporter
from zmlx_bench.bench.schema import (
    AllDone,
    BenchEvent,
    BenchInstructions,
    BenchReport,
    BenchRow,
    BenchTask,
    RowMeasured,
    TaskStarted,
)
from zmlx_bench.catalog import available as probe
from zmlx_bench.catalog import families as family_catalog
from zmlx_bench.catalog import kernels as kernel_catalog
from zmlx_bench.catalog.kernels import Kernel
from zmlx_bench.errors import CannotHere
from zmlx_bench.machine import device, facts
from zmlx_bench.machine.backend import installed
from zmlx_bench.process import told_path
from zmlx_bench.schema.base import Backend, Status, utc_now
from zmlx_bench.workspace import Workspace

_EVENT: TypeAdapter[BenchEvent] = TypeAdapter(BenchEvent)
OnRow = Callable[[BenchRow], None]


@dataclass(frozen=True)
class Request:
    """What was asked for."""

    names: Sequence[str]
    """`kernel` or `kernel.mode`; none means all."""
    families: Sequence[str]
    batches: Sequence[int]
    backend: Backend
    seed: int = 0
    timeout_s: float = 600.0
    """Longest silence of a process: the weights of a layer, or the figures of one row."""
    sizes: dict[str, object] | None = None
    effort: float = 1.0
    share_device: bool = False


def run(workspace: Workspace, request: Request, on_row: OnRow) -> BenchReport:
    """Measure; `on_row` is told each row as it is known. CannotHere while another command measures on the device."""
    rows: list[BenchRow] = []

    def note(row: BenchRow) -> None:
        rows.append(row)
        on_row(row)

    chosen = kernel_catalog.choose(workspace, request.names)
    families = request.families or family_catalog.usual(workspace)
    for family in families:
        family_catalog.check_folder(family, workspace)
    with device.hold(request.backend, share=request.share_device):
        for family in families:
            tasks: list[BenchTask] = []
            for kernel, mode in chosen:
                task = task_of(kernel, mode)
                reason = probe.why_not(workspace, kernel, mode, request.backend)
                if reason is None:
                    tasks.append(task)
                else:
                    note(_without(task, family, "unavailable", reason))
            for row in _measured(workspace, request, family, tasks):
                note(row)
    return BenchReport(
        schema_version=1,
        time=utc_now(),
        machine=facts.read(request.backend),
        mlx=installed("mlx") or "none",
        mlx_lm=installed("mlx-lm") or "none",
        zmlx=__version__,
        seed=request.seed,
        shared_device=request.share_device,
        rows=tuple(rows),
    )


def task_of(kernel: Kernel, mode: str) -> BenchTask:
    """Return the task of one mode of a kernel."""
    return BenchTask(
        kernel=kernel.name,
        mode=mode,
        numerics=kernel.declaration.mode[mode].numerics,
        sites=kernel.declaration.sites,
        max_tokens=kernel.most_tokens,
    )


def _without(task: BenchTask, family: str, status: Status, reason: str) -> BenchRow:
    return BenchRow(
        kernel=task.kernel,
        mode=task.mode,
        numerics=task.numerics,
        family=family,
        sites=task.sites,
        module=None,
        batch=None,
        status=status,
        reason=reason,
    )


def _measured(workspace: Workspace, request: Request, family: str, tasks: list[BenchTask]) -> Iterator[BenchRow]:
    while tasks:
        told = BenchInstructions.model_validate(
            {
                "family": family,
                "family_folder": told_path(family_catalog.folder(family, workspace)),
                "backend": request.backend,
                "kernels": told_path(workspace.kernels),
                "tasks": tasks,
                "batches": request.batches,
                "seed": request.seed,
                "sizes": request.sizes or {},
                "effort": request.effort,
            }
        )
        at: int | None = None
        process = Reporter("zmlx_bench.bench", told.model_dump_json().encode(), _EVENT, request.timeout_s)
        try:
            for event in process.events():
                match event:
                    case TaskStarted(index=index):
                        at = index
                    case RowMeasured(row=row):
                        yield row
                    case AllDone():
                        return
        finally:
            process.kill()
        if at is None:
            raise CannotHere(f"the process that measures kernels did not come to the first: {process.ending[1]}")
        yield _without(tasks[at], family, *process.ending)
        tasks = tasks[at + 1 :]
