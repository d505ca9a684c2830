"""What is done with the kernels that are asked for: a task for each mode of one that runs here."""

from __future__ import annotations

from collections.abc import Sequence

from zmlx_bench.bench.schema import BenchTask
from zmlx_bench.catalog import available
from zmlx_bench.catalog import families as family_catalog
from zmlx_bench.catalog.kernels import Kernel
from zmlx_bench.schema.base import Backend
from zmlx_bench.workspace import Workspace


def families_of(workspace: Workspace, named: Sequence[str]) -> Sequence[str]:
    """Return the families named, or the usual ones where none is; UnusableInput for one without a folder."""
    families = named or family_catalog.usual(workspace)
    for family in families:
        family_catalog.check_folder(family, workspace)
    return families


def tasks_of(
    workspace: Workspace, chosen: Sequence[tuple[Kernel, str]], backend: Backend
) -> tuple[list[BenchTask], list[tuple[BenchTask, str]]]:
    """Return the tasks of kernels' modes that run here, and those that do not, with the reason."""
    here: list[BenchTask] = []
    not_here: list[tuple[BenchTask, str]] = []
    for kernel, mode in chosen:
        task = task_of(kernel, mode)
        reason = available.why_not(workspace, kernel, mode, backend)
        if reason is None:
            here.append(task)
        else:
            not_here.append((task, reason))
    return here, not_here


def task_of(kernel: Kernel, mode: str) -> BenchTask:
    """Return the task of one mode of a kernel."""
    return BenchTask(
        kernel=kernel.name,
        mode=mode,
        numerics=kernel.declaration.mode[mode].numerics,
        sites=kernel.declaration.sites,
        max_tokens=kernel.most_tokens,
    )
