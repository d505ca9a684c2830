"""What `zmlx doctor` says of kernels: those made for this backend that do not run here, and why."""

from __future__ import annotations

from zmlx_bench.catalog import kernels as kernel_catalog
from zmlx_bench.catalog.available import why_not
from zmlx_bench.doctor.checkup import Observation
from zmlx_bench.schema.base import Backend
from zmlx_bench.workspace import Workspace


def observations(workspace: Workspace, backend: Backend) -> list[Observation]:
    """Return a note for each kernel that is made for `backend` and cannot run here."""
    reasons: dict[str, list[str]] = {}
    for kernel in kernel_catalog.load(workspace).values():
        for mode, declared in kernel.declaration.mode.items():
            reason = why_not(workspace, kernel, mode, backend) if backend in declared.backends else None
            if reason is not None:
                reasons.setdefault(reason, []).append(kernel.name)
    return [
        Observation(subject=", ".join(dict.fromkeys(names)), level="note", found="does not run here", remedy=reason)
        for reason, names in reasons.items()
    ]
