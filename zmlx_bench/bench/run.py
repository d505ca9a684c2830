"""Plans what `kernels bench` measures and runs it in one process a family.

A kernel that takes its process with it loses its remaining rows; a new process goes on with the next kernel.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pydantic import TypeAdapter

from zmlx_bench import __version__
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
from zmlx_bench.errors import CannotHere, unknown
from zmlx_bench.machine import device, facts
from zmlx_bench.machine.backend import installed
from zmlx_bench.process import UTF8, Child, ending, told_path
from zmlx_bench.schema.base import Backend, Status, utc_now
from zmlx_bench.workspace import Workspace

_EVENT: TypeAdapter[BenchEvent] = TypeAdapter(BenchEvent)
OnRow = Callable[[BenchRow], None]


@dataclass(frozen=True)
class Wishes:
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


def run(workspace: Workspace, wishes: Wishes, on_row: OnRow) -> BenchReport:
    """Measure; `on_row` is told each row as it is known. CannotHere while another command measures on the device."""
    rows: list[BenchRow] = []

    def note(row: BenchRow) -> None:
        rows.append(row)
        on_row(row)

    chosen = _chosen(workspace, wishes.names)
    families = wishes.families or family_catalog.names(workspace)
    for family in families:
        family_catalog.check_name(family, workspace)
    with device.hold(wishes.backend, share=wishes.share_device):
        for family in families:
            tasks: list[BenchTask] = []
            for kernel, mode in chosen:
                task = _task(kernel, mode)
                reason = probe.why_not(workspace, kernel, mode, wishes.backend)
                if reason is None:
                    tasks.append(task)
                else:
                    note(_without(task, family, "unavailable", reason))
            for row in _measured(workspace, wishes, family, tasks):
                note(row)
    return BenchReport(
        schema_version=1,
        time=utc_now(),
        machine=facts.read(wishes.backend),
        mlx=installed("mlx") or "none",
        mlx_lm=installed("mlx-lm") or "none",
        zmlx=__version__,
        seed=wishes.seed,
        shared_device=wishes.share_device,
        rows=tuple(rows),
    )


def _chosen(workspace: Workspace, names: Sequence[str]) -> list[tuple[Kernel, str]]:
    known = kernel_catalog.load(workspace)
    if not names:
        return [(kernel, mode) for kernel in known.values() for mode in kernel.declaration.mode]
    found: list[tuple[Kernel, str]] = []
    for name in names:
        kernel_name, _, mode = name.partition(".")
        if kernel_name not in known:
            raise unknown("kernel", kernel_name, known)
        kernel = known[kernel_name]
        if mode and mode not in kernel.declaration.mode:
            raise unknown(f"mode of {kernel_name}", mode, kernel.declaration.mode)
        found.extend((kernel, one) for one in ([mode] if mode else kernel.declaration.mode))
    return found


def _task(kernel: Kernel, mode: str) -> BenchTask:
    most = kernel.declaration.max_tokens
    return BenchTask(
        kernel=kernel.name,
        mode=mode,
        numerics=kernel.declaration.mode[mode].numerics,
        sites=kernel.declaration.sites,
        max_tokens=None if most == "any" else most,
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


def _measured(workspace: Workspace, wishes: Wishes, family: str, tasks: list[BenchTask]) -> Iterator[BenchRow]:
    while tasks:
        process = _Process(
            BenchInstructions.model_validate(
                {
                    "family": family,
                    "family_folder": told_path(family_catalog.folder(family, workspace)),
                    "backend": wishes.backend,
                    "kernels": told_path(workspace.kernels),
                    "tasks": tasks,
                    "batches": wishes.batches,
                    "seed": wishes.seed,
                    "sizes": wishes.sizes or {},
                    "effort": wishes.effort,
                }
            ),
            wishes.timeout_s,
        )
        try:
            yield from process.rows()
        finally:
            process.kill()
        if process.done:
            return
        if process.task is None:
            raise CannotHere(f"the process that measures kernels did not come to the first: {process.ending[1]}")
        yield _without(tasks[process.task], family, *process.ending)
        tasks = tasks[process.task + 1 :]


class _Process:
    """One measuring process: its rows, and how it ended."""

    def __init__(self, told: BenchInstructions, timeout_s: float) -> None:
        self.done = False
        self.task: int | None = None
        self.ending: tuple[Status, str] = ("crash", "ended before it was done")
        self._timeout_s = timeout_s
        told_bytes = told.model_dump_json().encode()
        self._child = Child([sys.executable, "-m", "zmlx_bench.bench"], told_bytes, sys.stderr, {**os.environ, **UTF8})

    def rows(self) -> Iterator[BenchRow]:
        """Yield rows until the process ends or is silent for too long."""
        while True:
            came = self._child.read(self._timeout_s)
            if came is None:
                self.ending = ("crash", ending(self._child.process.wait()))
                return
            _, lines = came
            if not lines:
                self.ending = ("timeout", f"silent for {self._timeout_s:g} s")
                return
            for line in lines:
                match _EVENT.validate_json(line):
                    case TaskStarted(index=index):
                        self.task = index
                    case RowMeasured(row=row):
                        yield row
                    case AllDone():
                        self.done = True

    def kill(self) -> None:
        """End whatever is left of it."""
        self._child.kill(0)
