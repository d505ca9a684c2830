"""Memory that processes here may use: the machine's, or what its control group allows where that is less."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

from zmlx_bench.machine import container

CONTROL_GROUP = "control group"


@dataclass(frozen=True)
class Memory:
    """GB; the smaller of what the machine has and what the control group allows."""

    total_gb: float
    available_gb: float
    limited_by: str | None
    """What allows less than the machine has; None where nothing does."""
    machine_gb: float


def read() -> Memory:
    """Return the memory as it is now."""
    machine = psutil.virtual_memory()
    whole = machine.total / 1e9
    limit, left = container.memory_limit_gb(), container.memory_left_gb()
    limited = limit is not None and limit < whole
    return Memory(
        total_gb=limit if limit is not None and limited else whole,
        available_gb=min(machine.available / 1e9, whole if left is None else left),
        limited_by=CONTROL_GROUP if limited else None,
        machine_gb=whole,
    )
