"""Everything that `zmlx doctor` looks at, in its order."""

from __future__ import annotations

from pathlib import Path

from zmlx_bench import workspace as workspaces
from zmlx_bench.doctor import checkup, kernels
from zmlx_bench.doctor.checkup import Observation
from zmlx_bench.machine import backend as backends
from zmlx_bench.machine import device


def examine(workspace: Path | None) -> list[Observation]:
    """Look at this machine, its device and the kernels of `workspace` (None: the nearest one, or the packaged)."""
    seen = checkup.observations()
    backend = next((b for b in backends.ORDER if backends.why_not(b) is None), None)
    if backend is not None:
        seen.append(checkup.measuring(device.holder(backend)))
        found = workspaces.find_or_packaged(workspace)
        seen += [*kernels.observations(found, backend), kernels.verification(found, backend)]
    return seen
