"""Facts of the machine that hold for a whole session."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import psutil

from zmlx_bench.machine import container, memory, metal, nvidia
from zmlx_bench.machine.command import output_of
from zmlx_bench.schema.base import Backend
from zmlx_bench.schema.machine import Machine

_CPUINFO = Path("/proc/cpuinfo")


def read(backend: Backend) -> Machine:
    """Return the facts of this machine as seen from `backend`."""
    cpu, cores = _cpu_name(), container.usable_cores()
    gpu = nvidia.query("name", "memory.total", "driver_version") if backend == "cuda" else None
    usable = memory.read()
    mac = backend == "metal"
    gpu_memory = metal.usable_memory_gb() if mac else float(gpu[1]) * 1024**2 / 1e9 if gpu else None
    return Machine(
        device=gpu[0] if gpu else _device(backend, cpu, cores),
        backend=backend,
        os=f"{platform.system()} {platform.mac_ver()[0] or platform.release()}".strip(),
        arch=platform.machine(),
        cpu=cpu,
        cpu_count=psutil.cpu_count(logical=False) or psutil.cpu_count(),
        cores=cores,
        memory_gb=round(usable.total_gb, 1),
        memory_limited_by=usable.limited_by,
        gpu_memory_gb=None if gpu_memory is None else round(gpu_memory, 1),
        gpu_driver=gpu[2] if gpu else None,
        wired_limit_gb=metal.wired_limit_gb() if mac else None,
    )


def _device(backend: Backend, cpu: str | None, cores: int) -> str:
    """Return the name that evidence is grouped by: one name is sold, or shown to a guest, as several devices."""
    name = cpu or platform.machine() or "unknown"
    if backend == "metal":
        count = metal.gpu_cores()
        return name if count is None else f"{name} ({count}-core GPU)"
    model = _cpu_model(_CPUINFO)
    parts = [*([model] if model else []), f"{cores} core{'' if cores == 1 else 's'}"]
    return f"{name} ({', '.join(parts)})"


def _cpu_name() -> str | None:
    if sys.platform == "darwin":
        return output_of("sysctl", "-n", "machdep.cpu.brand_string")
    return _cpuinfo(_CPUINFO).get("model name") or None


def _cpu_model(cpuinfo: Path) -> str | None:
    """Return x86's family and model of the CPU, which its name leaves out on a virtual machine; None elsewhere."""
    told = _cpuinfo(cpuinfo)
    family, model = told.get("cpu family"), told.get("model")
    return f"family {family} model {model}" if family and model else None


def _cpuinfo(path: Path) -> dict[str, str]:
    """Return what Linux says of the first CPU, by its names."""
    try:
        first = path.read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
