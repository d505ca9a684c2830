"""`verifications/`: what `zmlx kernels verify --record` kept, and when a kernel was last verified."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from zmlx_bench import files
from zmlx_bench.catalog.identity import kernel_digest
from zmlx_bench.catalog.variants import Catalog
from zmlx_bench.machine import facts
from zmlx_bench.machine.backend import installed
from zmlx_bench.schema.base import Backend
from zmlx_bench.schema.variant import ResolvedVariant
from zmlx_bench.schema.verification import Verification
from zmlx_bench.workspace import Workspace


@dataclass(frozen=True)
class Place:
    """Where a verification counts: a device, and the versions whose steps the kernels were compared with."""

    backend: str
    device: str
    mlx: str
    mlx_lm: str | None


def here(backend: Backend) -> Place:
    """Return this machine."""
    return Place(backend, facts.read(backend).device, installed("mlx") or "none", installed("mlx-lm") or "none")


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


def digests(catalog: Catalog, variant: ResolvedVariant, backend: Backend) -> dict[str, str]:
    """Return the digest of each of a variant's kernels as its sources are today."""
    folder = catalog.workspace.kernels
    used = [catalog.kernels[use.kernel] for use in variant.kernels]
    return {kernel.name: kernel_digest(folder, kernel.name, kernel.most_tokens, backend) for kernel in used}


def last(
    reports: Sequence[Verification], variant: ResolvedVariant, kernels: Mapping[str, str], place: Place
) -> str | None:
    """Return when a variant's kernels, by name with their digests, were last found at `place` to be what they declare.

    The oldest of its kernels' times counts; None where one of them never was.
    """
    times: list[str] = []
    for use in variant.kernels:
        asked = (use.kernel, use.mode, variant.family)
        found = [each.time for each in reports if _holds(each, asked, kernels.get(use.kernel), place)]
        if not found:
            return None
        times.append(max(found))
    return min(times, default=None)


def _holds(report: Verification, asked: tuple[str, str, str], digest: str | None, place: Place) -> bool:
    if place != Place(report.machine.backend, report.machine.device, report.mlx, report.mlx_lm):
        return False
    rows = [row for row in report.rows if (row.kernel, row.mode, row.family) == asked and row.compared]
    kernel, _, _ = asked
    return bool(rows) and report.kernels.get(kernel) == digest and not any(row.breaks_word for row in rows)
