"""State of the machine around a process: load, clocks, temperature, power, throttling."""

from __future__ import annotations

import re
import sys

import psutil

from zmlx_bench.machine import heat, memory, metal, nvidia
from zmlx_bench.machine.command import output_of
from zmlx_bench.schema.base import Backend
from zmlx_bench.schema.machine import MachineState

# Bits of NVIDIA's clock event reasons that mean held back: software power cap, hardware slowdown,
# software and hardware thermal slowdown, hardware power brake.
_NVIDIA_HELD_BACK = 0x4 | 0x8 | 0x20 | 0x40 | 0x80


def read(backend: Backend, busy_by_others: float | None = None) -> MachineState:
    """Return the state now; `busy_by_others` is what the caller measured over the process, in cores."""
    gpu = _nvidia() if backend == "cuda" else {}
    pressure = _mac_pressure()
    held = gpu.get("reasons")
    throttled = None if held is None else bool(held & _NVIDIA_HELD_BACK)
    if pressure is not None:
        throttled = pressure != "nominal"
    return MachineState(
        load_average=round(psutil.getloadavg()[0], 3),
        cpu_busy_by_others=busy_by_others,
        cpu_mhz=_cpu_mhz(),
        gpu_mhz=gpu.get("mhz"),
        temperature_c=gpu.get("temperature", _cpu_temperature()),
        thermal_pressure=pressure,
        power_source=_power_source(),
        available_memory_gb=round(memory.read().available_gb, 2),
        compressed_gb=_compressed_gb(),
        other_gpu_processes=gpu.get("processes"),
        throttled=throttled,
    )


def busy_cpu_s() -> float:
    """Return the CPU seconds that all processes of the machine have used since it started."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0) + getattr(times, "steal", 0.0)
    guest = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return float(sum(times) - idle - guest)


def _cpu_mhz() -> float | None:
    try:
        frequency = psutil.cpu_freq()
    except (OSError, RuntimeError, AttributeError, NotImplementedError):
        return None
    return round(frequency.current, 1) if frequency and frequency.current > 0 else None


def _cpu_temperature() -> float | None:
    read_sensors = getattr(psutil, "sensors_temperatures", None)
    if read_sensors is None:
        return None
    readings = [sensor.current for group in read_sensors().values() for sensor in group]
    return round(max(readings), 1) if readings else None


def _power_source() -> str | None:
    try:
        battery = psutil.sensors_battery()
    except (OSError, RuntimeError, AttributeError, NotImplementedError):
        return None
    if battery is None:
        return None
    return "ac" if battery.power_plugged else "battery"


def _compressed_gb() -> float | None:
    if sys.platform != "darwin":
        return None
    found = metal.compressed_gb()
    return None if found is None else round(found, 3)


def _mac_pressure() -> str | None:
    if sys.platform != "darwin":
        return None
    text = output_of("notifyutil", "-g", "com.apple.system.thermalpressurelevel")
    level = re.search(r"(\d+)\s*$", text or "")
    if level is None or int(level[1]) >= len(heat.PRESSURES):
        return None
    return heat.PRESSURES[int(level[1])]


def _nvidia() -> dict[str, int]:
    values, processes = nvidia.query_with_processes("clocks.sm", "temperature.gpu", "clocks_event_reasons.active")
    if values is None:
        return {}
    found: dict[str, int] = {}
    for name, value in zip(("mhz", "temperature", "reasons"), values, strict=False):
        try:
            found[name] = int(value, 0)
        except ValueError:
            continue
    if processes is not None:
        found["processes"] = processes
    return found
