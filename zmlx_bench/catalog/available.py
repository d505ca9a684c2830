"""Whether a kernel can run here, in the manner of `hasattr(mx, ...)`: asked without a model.

A kernel folder may define `probe(mode, backend) -> str | None` in its `kernel.py`: one sentence why it cannot run
here and what to do, or None. Without one, a kernel runs on the backends that it declares, where MLX has the primitives
that it needs.
"""

from __future__ import annotations

import importlib

from zmlx_bench.catalog import kernels
from zmlx_bench.catalog.kernels import Kernel
from zmlx_bench.measured import loader, primitives
from zmlx_bench.measured.worker.lean import import_loop
from zmlx_bench.printable import one_line
from zmlx_bench.schema.base import Backend
from zmlx_bench.workspace import Workspace


def why_not(workspace: Workspace, kernel: Kernel, mode: str, backend: Backend) -> str | None:
    """Return why `kernel.mode` does not run on `backend` here, or None when it does."""
    if backend not in kernel.declaration.mode[mode].backends:
        return f"not on {backend}"
    if (reason := lacks_primitive(kernel)) is not None:
        return reason
    loader.open_kernels(workspace.kernels)
    doing = "be imported"
    # A kernel may raise anything, and leave; a list of kernels goes on to the next.
    try:
        import_loop()  # kernels import it, and whole it takes a second
        module = importlib.import_module(f"{loader.PACKAGE}.{kernel.name}.kernel")
        doing = "be asked (probe)"
        probe = getattr(module, "probe", None)
        said: str | None = None if probe is None else probe(mode, backend)
    except (Exception, SystemExit) as error:  # noqa: BLE001
        return f"cannot {doing}: {one_line(f'{type(error).__name__}: {error}')}"
    return said


def lacks_primitive(kernel: Kernel) -> str | None:
    """Say which primitives that `kernel` needs the MLX here lacks, or None when it has them all."""
    try:
        return primitives.lacking(kernel.declaration.needs)
    except ImportError as error:
        return f"cannot be asked (needs): {one_line(f'{type(error).__name__}: {error}')}"


def found_primitives(kernel: Kernel) -> dict[str, str | None]:
    """Return which module of the MLX here has each primitive that `kernel` needs; None for none."""
    try:
        return {name: primitives.present(name) for name in kernel.declaration.needs}
    except ImportError:
        return dict.fromkeys(kernel.declaration.needs)


def needed(workspace: Workspace) -> tuple[str, ...]:
    """Return the primitives that kernels of the workspace need, sorted."""
    return tuple(sorted({name for kernel in kernels.load(workspace).values() for name in kernel.declaration.needs}))
