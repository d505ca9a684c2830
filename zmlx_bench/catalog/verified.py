"""`verifications/`: what `zmlx kernels verify --record` kept, and when a kernel was last verified."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zmlx_bench import files
from zmlx_bench.catalog import kernels as kernel_catalog
from zmlx_bench.catalog.identity import kernel_digest
from zmlx_bench.schema.base import Backend
from zmlx_bench.schema.variant import ResolvedVariant
from zmlx_bench.schema.verification import Verification
from zmlx_bench.workspace import Workspace


@dataclass(frozen=True)
class Here:
    """Where a verification counts."""

    backend: Backend
    device: str
    mlx: str


def write(workspace: Workspace, report: Verification) -> Path:
    """Keep a report in a file of its own; CannotHere where it cannot be written."""
    stamp = report.time.replace("-", "").replace(":", "").partition(".")[0].rstrip("Z") + "Z"
    path = workspace.verifications / f"{stamp}-{report.machine.backend}-{secrets.token_hex(2)}.json"
    try:
        workspace.verifications.mkdir(exist_ok=True)
    except OSError as error:
        raise files.cannot_write(workspace.verifications, error) from None
    files.write_atomic(path, files.dump_json(report))
    return path


def paths(workspace: Workspace) -> list[Path]:
    """Return the files of all reports, the oldest first."""
    return sorted(workspace.verifications.glob("*.json"))


def read(workspace: Workspace) -> list[Verification]:
    """Read every report; UnusableInput names a file that is none."""
    return [files.read_json(path, Verification) for path in paths(workspace)]


def last(workspace: Workspace, reports: Sequence[Verification], variant: ResolvedVariant, here: Here) -> str | None:
    """Return when a variant's kernels were last found to be what they declare, as they are today; None for never.

    The oldest of its kernels' times counts.
    """
    known = kernel_catalog.load(workspace)
    times: list[str] = []
    for use in variant.kernels:
        limit = known[use.kernel].most_tokens
        digest = kernel_digest(workspace.kernels, use.kernel, limit, here.backend)
        found = [each.time for each in reports if _holds(each, use.kernel, use.mode, variant.family, digest, here)]
        if not found:
            return None
        times.append(max(found))
    return min(times, default=None)


def _holds(report: Verification, kernel: str, mode: str, family: str, digest: str, here: Here) -> bool:
    if here != Here(report.machine.backend, report.machine.device, report.mlx):
        return False
    asked = (kernel, mode, family)
    rows = [row for row in report.rows if (row.kernel, row.mode, row.family) == asked and row.compared]
    return bool(rows) and report.kernels.get(kernel) == digest and not any(row.breaks_word for row in rows)
