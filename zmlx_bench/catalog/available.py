"""Whether a kernel can run here, in the manner of `hasattr(mx, ...)`: asked without a model.

A kernel folder may define `probe(mode, backend) -> str | None` in its `kernel.py`: one sentence why it cannot run
here and what to do, or None. Without one, a kernel runs on the backends that it declares.
"""

from __future__ import annotations

import importlib

from zmlx_bench.catalog.kernels import Kernel
from zmlx_bench.measured import loader
from zmlx_bench.schema.base import Backend
from zmlx_bench.workspace import Workspace


def why_not(workspace: Workspace, kernel: Kernel, mode: str, backend: Backend) -> str | None:
    """Return why `kernel.mode` does not run on `backend` here, or None when it does."""
    if backend not in kernel.declaration.mode[mode].backends:
        return f"not on {backend}"
    loader.open_kernels(workspace.kernels)
    try:
        module = importlib.import_module(f"{loader.PACKAGE}.{kernel.name}.kernel")
    except Exception as error:  # noqa: BLE001 - a kernel's import may raise anything, and a list goes on to the next
        return f"cannot be imported: {type(error).__name__}: {error}"
    probe = getattr(module, "probe", None)
    if probe is None:
        return None
    reason: str | None = probe(mode, backend)
    return reason
