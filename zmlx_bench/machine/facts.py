"""Facts of the machine that hold for a whole session."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import psutil

from zmlx_bench.machine import container, nvidia
from zmlx_bench.machine.command import output_of
from zmlx_bench.schema.base import Backend
from zmlx_bench.schema.machine import Machine


def read(backend: Backend) -> Machine:
    """Return the facts of this machine as seen from `backend`."""
    cpu = _cpu_name()
    gpu = nvidia.query("name", "memory.total", "driver_version") if backend == "cuda" else None
    device = gpu[0] if gpu else cpu
    return Machine(
        device=device or platform.machine() or "unknown",
        backend=backend,
        os=f"{platform.system()} {platform.mac_ver()[0] or platform.release()}".strip(),
        arch=platform.machine(),
        cpu=cpu,
        cpu_count=psutil.cpu_count(logical=False) or psutil.cpu_count(),
        cores=container.usable_cores(),
        memory_gb=round(psutil.virtual_memory().total / 1e9, 1),
        gpu_memory_gb=round(float(gpu[1]) * 1024**2 / 1e9, 1) if gpu else None,
        gpu_driver=gpu[2] if gpu else None,
    )


def _cpu_name() -> str | None:
    if sys.platform == "darwin":
        return output_of("sysctl", "-n", "machdep.cpu.brand_string")
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    named = next((line for line in lines if line.startswith("model name")), None)
    return named.partition(":")[2].strip() or None if named else None
