"""Whether a kernel can run here, in the manner of `hasattr(mx, ...)`: asked without a model.

A kernel folder may define `probe(mode, backend) -> str | None` in its `kernel.py`: one sentence why it cannot run
here and what to do, or None. Without one, a kernel runs on the backends that it declares.
"""

from __future__ import annotations

import importlib

from zmlx_bench.catalog import kernels as kernel_catalog
from zmlx_bench.catalog.kernels import Kernel
from zmlx_bench.doctor.checkup import Finding
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
    except ImportError as error:
        return f"cannot be imported: {error}"
    probe = getattr(module, "probe", None)
    if probe is None:
        return None
    reason: str | None = probe(mode, backend)
    return reason


def has_kernel(workspace: Workspace, reference: str, backend: Backend) -> bool:
    """Return whether `kernel` or `kernel.mode` is declared in the workspace and runs on `backend` here."""
    name, _, mode = reference.partition(".")
    kernel = kernel_catalog.load(workspace).get(name)
    if kernel is None or (mode or "stock") not in kernel.declaration.mode:
        return False
    return why_not(workspace, kernel, mode or "stock", backend) is None


def findings(workspace: Workspace, backend: Backend) -> list[Finding]:
    """Return a note for each kernel that is made for `backend` and cannot run here, for `zmlx doctor`."""
    reasons: dict[str, list[str]] = {}
    for kernel in kernel_catalog.load(workspace).values():
        for mode, declared in kernel.declaration.mode.items():
            reason = why_not(workspace, kernel, mode, backend) if backend in declared.backends else None
            if reason is not None:
                reasons.setdefault(reason, []).append(kernel.name)
    return [
        Finding(subject=", ".join(dict.fromkeys(names)), level="note", found="does not run here", remedy=reason)
        for reason, names in reasons.items()
    ]
