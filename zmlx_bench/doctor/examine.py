"""Everything that `zmlx doctor` looks at, in its order."""

from __future__ import annotations

from pathlib import Path

from zmlx_bench import workspace as workspaces
from zmlx_bench.doctor import caches, checkup, imports, kernels
from zmlx_bench.doctor.checkup import Observation
from zmlx_bench.machine import backend as backends
from zmlx_bench.machine import device


def examine(workspace: Path | None) -> list[Observation]:
    """Look at this machine, its device and the kernels of `workspace` (None: the nearest one, or the packaged)."""
    place = workspaces.find_or_packaged(workspace)
    seen = [*checkup.observations(place), caches.observation()]
    backend = next((b for b in backends.ORDER if backends.why_not(b) is None), None)
    if backend is None:
        return seen
    seen += [checkup.measuring(device.holder(backend)), imported := imports.observation()]
    # Every kernel imports mlx: one that cannot be imported would be told of each, or end this process.
    if imported.level == "good":
        seen += [*kernels.observations(place, backend), kernels.verification(place, backend)]
    return seen
