"""Plans what `kernels bench` measures and runs it in one process a family."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter

from zmlx_bench import __version__
from zmlx_bench.bench.reporter import Lost, work_through
from zmlx_bench.bench.schema import (
    BenchEvent,
    BenchInstructions,
    BenchReport,
    BenchRow,
    BenchTask,
    RowMeasured,
)
from zmlx_bench.bench.tasks import families_of, tasks_of
from zmlx_bench.catalog import families as family_catalog
from zmlx_bench.catalog import kernels as kernel_catalog
from zmlx_bench.machine import device, facts
from zmlx_bench.machine.backend import installed
from zmlx_bench.process import told_path
from zmlx_bench.schema.base import Backend, utc_now
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
    families = families_of(workspace, request.families)
    with device.hold(request.backend, share=request.share_device):
        for family in families:
            tasks, not_here = tasks_of(workspace, chosen, request.backend)
            for task, reason in not_here:
                note(BenchRow.of(task, family, "unavailable", reason))
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


def _measured(workspace: Workspace, request: Request, family: str, tasks: Sequence[BenchTask]) -> Iterator[BenchRow]:
    def told(left: Sequence[BenchTask]) -> BenchInstructions:
        return BenchInstructions.model_validate(
            {
                "family": family,
                "family_folder": told_path(family_catalog.folder(family, workspace)),
                "backend": request.backend,
                "kernels": told_path(workspace.kernels),
                "tasks": left,
                "batches": request.batches,
                "seed": request.seed,
                "sizes": request.sizes or {},
                "effort": request.effort,
            }
        )

    for event in work_through("zmlx_bench.bench", tasks, told, _EVENT, request.timeout_s):
        match event:
            case RowMeasured(row=row):
                yield row
            case Lost():
                yield BenchRow.of(event.task, family, event.status, event.reason)
